/** One control for each kind of field of the schema. */

import { useId, useRef, useState } from "preact/hooks";
import { upload } from "./api";
import { Pictogram, areMoves } from "./camera";
import { type Field, boundsOf, defaultsOf, fieldOf } from "./schema";
import { fileName, fileUrl, rememberFile } from "./sources";

/** What was refused, by the place in the body: `loras.0.path`. */
export type Troubles = Record<string, string>;
interface Given { field: Field; path: string; value: unknown; set: (value: unknown) => void; troubles: Troubles }
type Control = Given & { id: string; describedBy: string; trouble?: string };

export const words = (value: string) => value.replaceAll("_", " ");

export function FieldRow(given: Given) {
  const { field } = given;
  const trouble = troubleOf(given);
  const id = useId();
  const describedBy = `${id}-about`;
  const control = { ...given, trouble, id, describedBy };
  const moves = field.kind === "choice" && areMoves(field.schema.enum ?? []);
  const alone = field.kind !== "rows" && !moves;
  return (
    <div class={`field kind-${field.kind} ${trouble ? "wrong" : ""}`} data-field={field.name}>
      {alone && <label for={id}>{field.title}</label>}
      {moves ? <Moves {...control} /> : <Plain {...control} />}
      <p class="about" id={describedBy}>
        {trouble && <strong class="trouble">{trouble} </strong>}
        {field.schema.description}
      </p>
    </div>
  );
}

/** Its own, or of what is in it; a row's controls tell theirs themselves. */
function troubleOf({ field, path, troubles }: Given): string | undefined {
  const inside = field.kind === "rows" ? undefined : Object.keys(troubles).find((one) => one.startsWith(`${path}.`));
  return troubles[path] ?? (inside && troubles[inside]);
}

function Plain(control: Control) {
  switch (control.field.kind) {
    case "boolean": return <Switch {...control} />;
    case "choice": return <Choice {...control} />;
    case "number": return <Numeric {...control} />;
    case "long": return <Long {...control} />;
    case "url": return <Source {...control} />;
    case "size": return <Size {...control} />;
    case "rows": return <Rows {...control} />;
    case "json": return <Json {...control} />;
    default: return <Line {...control} />;
  }
}

const marks = ({ id, describedBy, trouble, field }: Control) => ({
  id, "aria-describedby": describedBy, "aria-invalid": trouble ? true : undefined, required: field.required,
});

function Line(control: Control) {
  const { value, set, field } = control;
  return (
    <input type="text" {...marks(control)} maxLength={field.schema.maxLength} value={String(value ?? "")}
      onInput={(event) => set(event.currentTarget.value || (field.required ? "" : null))} />
  );
}

function Long(control: Control) {
  const { value, set, field } = control;
  const example = field.schema.examples?.[0];
  return (
    <textarea {...marks(control)} rows={field.required ? 4 : 3} maxLength={field.schema.maxLength} value={String(value ?? "")}
      placeholder={example ? String(example) : undefined} onInput={(event) => set(event.currentTarget.value)} />
  );
}

function Switch(control: Control) {
  const { value, set } = control;
  return <input type="checkbox" class="switch" role="switch" {...marks(control)} required={false} checked={value === true} onChange={(event) => set(event.currentTarget.checked)} />;
}

function Choice(control: Control) {
  const { field, value, set } = control;
  return (
    <select {...marks(control)} value={String(value)} onChange={(event) => set(event.currentTarget.value)}>
      {field.schema.enum?.map((one) => <option key={one} value={one}>{words(one)}</option>)}
    </select>
  );
}

const SLIDABLE = 10_000;

function Numeric(control: Control) {
  const { field, value, set, id, describedBy } = control;
  const { min, max } = boundsOf(field.schema);
  const whole = field.schema.type === "integer";
  const slides = min !== undefined && max !== undefined && max - min <= SLIDABLE;
  const step = whole ? 1 : max !== undefined && max <= 4 ? 0.05 : 0.1;
  const read = (text: string) => set(text === "" ? null : Number(text));
  return (
    <span class="numeric">
      {slides && <input type="range" aria-label={`${field.title}, slider`} aria-describedby={describedBy} min={min} max={max} step={step} value={Number(value ?? min)} onInput={(event) => read(event.currentTarget.value)} />}
      <input type="number" {...marks({ ...control, id })} required min={min} max={max} step={whole ? 1 : "any"} value={value === null ? "" : String(value)} onInput={(event) => read(event.currentTarget.value)} />
    </span>
  );
}

function Json(control: Control) {
  const [text, setText] = useState(JSON.stringify(control.value));
  const read = (input: HTMLInputElement) => {
    setText(input.value);
    try {
      control.set(JSON.parse(input.value));
      input.setCustomValidity("");
    } catch {
      input.setCustomValidity("This has to be JSON.");
    }
  };
  return <input type="text" {...marks(control)} value={text} onInput={(event) => read(event.currentTarget)} />;
}

function Size(control: Control) {
  const { field, value, set } = control;
  const names = field.schema.oneOf?.find((one) => one.enum)?.enum ?? [];
  const sides = field.schema.oneOf?.find((one) => one.properties) ?? {};
  const own = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  const choose = (name: string) => set(name === "custom" ? { width: 768, height: 512 } : name);
  return (
    <span class="size">
      <select {...marks(control)} value={own ? "custom" : String(value)} onChange={(event) => choose(event.currentTarget.value)}>
        {names.map((one) => <option key={one} value={one}>{words(one)}</option>)}
        <option value="custom">width × height…</option>
      </select>
      {own && Object.entries(sides.properties ?? {}).map(([name, side]) => (
        <input key={name} type="number" aria-label={`${field.title}, ${name}`} required min={side.minimum} max={side.maximum} value={String(own[name] ?? "")}
          onInput={(event) => set({ ...own, [name]: Number(event.currentTarget.value) })} />
      ))}
    </span>
  );
}

function Moves({ field, value, set, describedBy }: Control) {
  const group = useId();
  return (
    <fieldset class="moves" aria-describedby={describedBy}>
      <legend>{field.title}</legend>
      {field.schema.enum?.map((one) => (
        <label key={one} class="move">
          <input type="radio" name={group} value={one} checked={value === one} onChange={() => set(one)} />
          <Pictogram value={one} />
          <span>{words(one)}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Rows({ field, path, value, set, troubles, describedBy }: Control) {
  const rows = (value ?? []) as Record<string, unknown>[];
  const item = field.schema.items ?? {};
  const most = field.schema.maxItems ?? Number.POSITIVE_INFINITY;
  const add = useRef<HTMLButtonElement>(null);
  const change = (at: number, name: string, to: unknown) => set(rows.map((row, place) => (place === at ? { ...row, [name]: to } : row)));
  const drop = (at: number) => { set(rows.filter((_, place) => place !== at)); add.current?.focus(); };
  return (
    <fieldset class="rows" aria-describedby={describedBy}>
      <legend>{field.title}</legend>
      {rows.map((row, at) => (
        <div class="row" role="group" aria-label={`${field.title} ${at + 1}`} key={at}>
          {Object.entries(item.properties ?? {}).map(([name, schema]) => (
            <FieldRow key={name} field={fieldOf(name, schema, item.required?.includes(name) ?? false)} path={`${path}.${at}.${name}`} troubles={troubles} value={row[name]} set={(to) => change(at, name, to)} />
          ))}
          <button type="button" class="quiet" onClick={() => drop(at)}>Remove</button>
        </div>
      ))}
      <button type="button" class="quiet" ref={add} disabled={rows.length >= most} onClick={() => set([...rows, defaultsOf(item)])}>Add a {field.title.replace(/s$/, "")}</button>
    </fieldset>
  );
}

const KINDS: Record<string, string> = { video_url: "video/*", image_url: "image/*" };

function Source(control: Control) {
  const { field, value, set, id } = control;
  const [sent, setSent] = useState<number | null>(null);
  const [trouble, setTrouble] = useState("");
  const [over, setOver] = useState(false);
  const uri = typeof value === "string" ? value : "";
  const take = (file: File | undefined) => {
    if (!file) return;
    setTrouble("");
    setSent(0);
    upload(file, setSent)
      .then((url) => { rememberFile(url, file); set(url); })
      .catch((error: Error) => setTrouble(error.message))
      .finally(() => setSent(null));
  };
  const dropped = (event: DragEvent) => { event.preventDefault(); setOver(false); take(event.dataTransfer?.files[0]); };
  return (
    <div class={`source ${over ? "over" : ""}`} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={dropped}>
      <SourcePreview uri={uri} accept={KINDS[field.name] ?? ""} />
      <label class="pick">
        <input type="file" accept={KINDS[field.name]} onChange={(event) => take(event.currentTarget.files?.[0])} />
        <span>{fileName(uri) ?? "Drop a file here, or choose one"}</span>
      </label>
      {sent !== null && <progress aria-label={`Uploading, ${field.title}`} value={sent} max={1} />}
      {trouble && <p class="trouble" role="alert">{trouble}</p>}
      <input type="text" inputMode="url" {...marks({ ...control, id })} placeholder="https://…" value={uri} onInput={(event) => set(event.currentTarget.value.trim() || (field.required ? "" : null))} />
    </div>
  );
}

/** Of a dropped file only: an address that is being typed is nothing to fetch yet. */
function SourcePreview({ uri, accept }: { uri: string; accept: string }) {
  const url = fileUrl(uri);
  if (!url) return null;
  return accept.startsWith("image") ? <img class="thumb" src={url} alt="The chosen picture" /> : <video class="thumb" src={url} muted playsInline controls preload="metadata" aria-label="The chosen source" />;
}

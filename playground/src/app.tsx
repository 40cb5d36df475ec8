/** The page: a form beside what became of it. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, type Input, type Listed, type Model, type Status, ENDED, list, model, submit } from "./api";
import { CopyAs } from "./copy";
import { FieldRow, type Troubles } from "./fields";
import { forgetKey, keepKey, readKey } from "./key";
import { forgetAsked, rememberAsked } from "./history";
import { type Group, bodyOf, defaultsOf, groupsOf } from "./schema";
import { Queue, Stage } from "./stage";
import { ThemeSwitch } from "./theme";

const REFRESH_MS = 3000;

export function App() {
  const [found, setFound] = useState<Model>();
  const [trouble, setTrouble] = useState("");
  const [locked, setLocked] = useState(false);
  const load = useCallback(() => {
    setTrouble("");
    model()
      .then((one) => { setFound(one); setLocked(false); })
      .catch((error: Error) => {
        if (error instanceof ApiError && (error.status === 401 || error.status === 403)) setLocked(true);
        if (readKey() || !(error instanceof ApiError) || error.status !== 401) setTrouble(error.message);
      });
  }, []);
  useEffect(load, []);
  const signOut = () => { forgetKey(); forgetAsked(); setFound(undefined); load(); };
  return (
    <>
      <header>
        <h1><img src="playground/icon.svg" alt="" width="26" height="26" /> Rotoscope</h1>
        <nav aria-label="More"><a href="docs">API</a>{readKey() && <button type="button" class="quiet" onClick={signOut}>Forget key</button>}<ThemeSwitch /></nav>
      </header>
      <main>
        {locked ? <Unlock done={load} trouble={trouble} /> : trouble ? <p class="trouble" role="alert">{trouble}</p> : found && <Playground model={found} />}
      </main>
    </>
  );
}

function Unlock({ done, trouble }: { done: () => void; trouble: string }) {
  const [key, setKey] = useState("");
  const [remember, setRemember] = useState(false);
  const enter = (event: Event) => { event.preventDefault(); keepKey(key.trim(), remember); done(); };
  return (
    <form class="unlock" onSubmit={enter}>
      <h2>This server asks for a key</h2>
      <label for="key">Key</label>
      <input id="key" type="password" autocomplete="off" required value={key} aria-describedby="key-about" onInput={(event) => setKey(event.currentTarget.value)} />
      <p class="about" id="key-about">The operator makes one with <code>rotoscope keys create NAME</code>. It is kept until this tab is closed.</p>
      <label class="check"><input type="checkbox" checked={remember} onChange={(event) => setRemember(event.currentTarget.checked)} /> Remember it in this browser</label>
      {trouble && <p class="trouble" role="alert">{trouble}</p>}
      <button class="main">Continue</button>
    </form>
  );
}

/** Own requests: asked for again while one of them has not ended. */
function useRequests() {
  const [requests, setRequests] = useState<Listed[]>([]);
  const [cursor, setCursor] = useState<string | null>(null);
  const refresh = useCallback(() => {
    void list().then((page) => {
      setRequests((before) => {
        const news = new Set(page.requests.map((one) => one.request_id));
        const last = page.requests.at(-1)?.created_at ?? "";
        return [...page.requests, ...(page.next_cursor ? before.filter((one) => !news.has(one.request_id) && one.created_at < last) : [])];
      });
      setCursor((before) => before ?? page.next_cursor);
    }).catch(() => undefined);
  }, []);
  useEffect(() => {
    const seen = () => document.visibilityState === "visible" && refresh();
    refresh();
    document.addEventListener("visibilitychange", seen);
    return () => document.removeEventListener("visibilitychange", seen);
  }, []);
  const active = requests.some((one) => !ENDED.includes(one.status));
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(refresh, REFRESH_MS);
    return () => clearInterval(timer);
  }, [active]);
  const older = cursor === null ? undefined : () => void list(cursor).then((page) => {
    setRequests((before) => [...before, ...page.requests]);
    setCursor(page.next_cursor);
  });
  const heard = useCallback((told: Status) => setRequests((before) => before.map((one) => (one.request_id === told.request_id ? { ...one, status: told.status, progress: told.progress } : one))), []);
  return { requests, refresh, older, heard };
}

function Playground({ model }: { model: Model }) {
  const schema = model.input_schema;
  const [values, setValues] = useState<Input>(() => defaultsOf(schema));
  const [chosen, setChosen] = useState<string>();
  const stage = useRef<HTMLDivElement>(null);
  const { requests, refresh, older, heard } = useRequests();
  const choose = (id: string) => { setChosen(id); requestAnimationFrame(() => bring(stage.current)); };
  const sent = (id: string) => { rememberAsked(id, bodyOf(schema, values)); choose(id); refresh(); };
  const again = (input: Input) => {
    const known = Object.keys(schema.properties ?? {});
    const usable = Object.entries(input).filter(([name, value]) => known.includes(name) && (typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER));
    setValues({ ...defaultsOf(schema), ...Object.fromEntries(usable) });
    bring(document.querySelector("form"));
  };
  return (
    <div class="columns">
      <Form model={model} values={values} setValues={setValues} sent={sent} />
      <div class="shown" ref={stage}>
        {chosen ? <Stage key={chosen} id={chosen} heard={heard} changed={refresh} again={again} gone={() => { setChosen(undefined); refresh(); }} /> : <Nothing />}
        <Queue requests={requests} chosen={chosen} choose={choose} more={older} />
      </div>
    </div>
  );
}

/** What is to be seen starts where the window does, if it starts elsewhere. */
function bring(part: Element | null): void {
  const top = part?.getBoundingClientRect().top ?? 0;
  if (top < 0 || top > innerHeight / 2) part?.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function Nothing() {
  return (
    <section class="stage" aria-label="The chosen request">
      <div class="empty preview">
        <div>
          <p class="title">What you generate appears here.</p>
          <p>Drop a video, say what it should look like, and press Generate.</p>
        </div>
      </div>
    </section>
  );
}

interface Filled { model: Model; values: Input; setValues: (change: Input | ((values: Input) => Input)) => void; sent: (id: string) => void }

function Form({ model, values, setValues, sent }: Filled) {
  const schema = model.input_schema;
  const [troubles, setTroubles] = useState<Troubles>({});
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const refused = (error: Error) => {
    const detail = error instanceof ApiError ? error.detail : [];
    const named = Object.fromEntries(detail.map((one) => [one.loc.slice(1).join("."), one.msg]));
    setTroubles(named);
    setTrouble(error.message);
    requestAnimationFrame(() => reveal(form.current?.querySelector<HTMLElement>("[aria-invalid]")));
  };
  const send = (event: Event) => {
    event.preventDefault();
    setBusy(true); setTroubles({}); setTrouble("");
    submit(model.model_id, bodyOf(schema, values)).then(sent).catch(refused).finally(() => setBusy(false));
  };
  return (
    <form ref={form} onSubmit={send} aria-label="Request" onInvalidCapture={(event) => reveal(event.target as HTMLElement)}>
      {groupsOf(schema).map((group) => <Fields key={group.title} group={group} values={values} troubles={troubles} set={(name, value) => setValues((before) => ({ ...before, [name]: value }))} />)}
      <div class="send">
        {trouble && <p class="trouble" role="alert">{trouble}</p>}
        <button class="main" disabled={busy}>{busy ? "Sending…" : "Generate"}</button>
        <CopyAs modelId={model.model_id} body={() => bodyOf(schema, values)} />
      </div>
    </form>
  );
}

/** Open the folded group that a control is in, and go there. */
function reveal(control: HTMLElement | null | undefined): void {
  control?.closest("details")?.setAttribute("open", "");
  control?.focus();
}

interface Grouped { group: Group; values: Input; troubles: Troubles; set: (name: string, value: unknown) => void }

function Fields({ group, values, troubles, set }: Grouped) {
  const rows = group.fields.map((field) => <FieldRow key={field.name} field={field} value={values[field.name]} path={field.name} troubles={troubles} set={(value) => set(field.name, value)} />);
  return group.title ? <details><summary>{group.title}</summary><div class="fields">{rows}</div></details> : <div class="fields first">{rows}</div>;
}

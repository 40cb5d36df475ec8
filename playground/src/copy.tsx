/** The request as others would send it. The key stands in none of them: they take it from the environment. */

import { useRef, useState } from "preact/hooks";
import type { Input } from "./api";
import { readKey } from "./key";

const server = () => new URL(".", document.baseURI).href.replace(/\/$/, "");
const json = (body: Input) => JSON.stringify(body, null, 2);

function curl(modelId: string, body: Input): string {
  const quoted = json(body).replaceAll("'", "'\\''");
  return [
    `curl --request POST \\`,
    `  --url ${server()}/v1/models/${modelId} \\`,
    `  --header "Content-Type: application/json" \\`,
    ...(readKey() ? [`  --header "Authorization: Bearer $ROTOSCOPE_KEY" \\`] : []),
    `  --data '${quoted}'`,
  ].join("\n");
}

/** A value as Python writes it: JSON but for its three names. */
function python(value: unknown, indent = 4): string {
  const pad = " ".repeat(indent);
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return value.length ? `[${value.map((one) => python(one, indent)).join(", ")}]` : "[]";
  if (typeof value !== "object") return JSON.stringify(value);
  const pairs = Object.entries(value).map(([name, one]) => `${pad}${JSON.stringify(name)}: ${python(one, indent + 4)},\n`);
  return `{\n${pairs.join("")}${" ".repeat(indent - 4)}}`;
}

function script(body: Input): string {
  const keyed = readKey() !== "";
  return `${keyed ? "import os\n" : ""}from pathlib import Path

from rotoscope.client import Client

body = ${python(body)}

with Client("${server()}"${keyed ? ', os.environ["ROTOSCOPE_KEY"]' : ""}) as client:
    submitted = client.submit(body)
    result = client.wait(submitted.request_id)
    client.download(result, Path("result.mp4"))
`;
}

type Form = "curl" | "Python" | "JSON";
const FORMS: Form[] = ["curl", "Python", "JSON"];

export function CopyAs({ modelId, body }: { modelId: string; body: () => Input }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [form, setForm] = useState<Form>("curl");
  const [text, setText] = useState("");
  const [copied, setCopied] = useState(false);
  const open = (asked: Form) => {
    setForm(asked);
    setCopied(false);
    setText(asked === "curl" ? curl(modelId, body()) : asked === "Python" ? script(body()) : json(body()));
    dialog.current?.showModal();
  };
  return (
    <div class="copy" role="group" aria-label="Copy the request as">
      <span aria-hidden="true">Copy as</span>
      {FORMS.map((one) => <button type="button" class="quiet" key={one} aria-label={`Copy as ${one}`} onClick={() => open(one)}>{one}</button>)}
      <dialog ref={dialog} aria-label={`The request as ${form}`}>
        <textarea readOnly rows={14} aria-label={`The request as ${form}`} value={text} />
        <div class="actions">
          <button type="button" class="main" onClick={() => void copy(dialog.current, text).then(setCopied)}>Copy</button>
          <button type="button" onClick={() => dialog.current?.close()}>Close</button>
          <span role="status">{copied ? "Copied." : ""}</span>
        </div>
      </dialog>
    </div>
  );
}

/** Browsers give pages the clipboard over https and loopback only: elsewhere the text is selected. */
async function copy(dialog: HTMLDialogElement | null, text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    dialog?.querySelector("textarea")?.select();
    return false;
  }
}

/** The Model API, as a page of the same server calls it. */

import { readKey } from "./key";

export interface Progress { stage: string; stages: string[]; step: number; steps: number; fraction: number; eta_s?: number | null; preview?: string | null }
export interface Warning { field: string; asked: unknown; used: unknown; why: string }
export interface Failure { code: string; message: string; field?: string | null }
export type Word = "in_queue" | "in_progress" | "completed" | "succeeded" | "failed" | "cancelled";
export interface Status { request_id: string; status: Word; queue_position?: number; progress?: Progress; warnings?: Warning[]; error?: Failure }
export interface Listed extends Status { model_id: string; created_at: string; finished_at?: string }
export interface Media { content_type: string; size: number; width: number; height: number; fps: string; frames: number; duration_s: number; audio: boolean }
export type Input = Record<string, unknown>;
export interface Manifest { prompt: string; seed: number; input?: Input | null }
export interface Result extends Status {
  created_at: string; finished_at: string | null; output?: { video?: string }; media?: Media;
  control?: { video: string }; metrics?: Record<string, number>; manifest?: Manifest;
}
export interface Trouble { loc: (string | number)[]; msg: string }
export interface Model { model_id: string; display_name: string; input_schema: Schema }
export interface Schema {
  type?: string; title?: string; description?: string; default?: unknown; enum?: string[]; examples?: unknown[];
  minimum?: number; maximum?: number; minLength?: number; maxLength?: number; maxItems?: number; format?: string; pattern?: string;
  properties?: Record<string, Schema>; required?: string[]; items?: Schema; anyOf?: Schema[]; oneOf?: Schema[];
}

/** An answer that is an error: its status, its sentence, and the fields that were wrong. */
export class ApiError extends Error {
  constructor(readonly status: number, message: string, readonly detail: Trouble[] = []) {
    super(message);
  }
}

const RETRY_MS = 1000;
export const ENDED: readonly Word[] = ["completed", "succeeded", "failed", "cancelled"];

const place = (path: string) => new URL(path, document.baseURI).href;
const asked = (id: string, verb = "") => `v1/requests/${encodeURIComponent(id)}${verb}`;

function authorized(headers: Record<string, string> = {}): Record<string, string> {
  const key = readKey();
  return key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
}

function refusal(status: number, text: string): ApiError {
  try {
    const body = JSON.parse(text) as { error_message: string; detail?: Trouble[] };
    return new ApiError(status, body.error_message, body.detail);
  } catch {
    return new ApiError(status, `The server answered ${status}.`);
  }
}

async function call(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = authorized(options.headers as Record<string, string> | undefined);
  const answer = await fetch(place(path), { ...options, headers });
  if (!answer.ok) throw refusal(answer.status, await answer.text());
  return answer;
}

const read = async <T>(path: string, options?: RequestInit) => (await (await call(path, options)).json()) as T;

/** The first model of the catalogue with its schema. */
export async function model(): Promise<Model> {
  const found = await read<{ models: Model[] }>("v1/models?include_schema=true&limit=1");
  if (!found.models[0]) throw new ApiError(404, "This server has no model.");
  return found.models[0];
}

export async function submit(modelId: string, body: Input): Promise<string> {
  const headers = { "Content-Type": "application/json" };
  const sent = { method: "POST", headers, body: JSON.stringify(body) };
  return (await read<{ request_id: string }>(`v1/models/${modelId}`, sent)).request_id;
}

export interface Page { requests: Listed[]; next_cursor: string | null }
export const list = (cursor?: string) =>
  read<Page>(`v1/requests?limit=20${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
export const result = (id: string) => read<Result>(asked(id, "/result"));
export const cancel = (id: string) => call(asked(id, "/cancel?running=true"), { method: "POST" });
export const remove = (id: string) => call(asked(id), { method: "DELETE" });

/** A result's or a preview's path on this server, whatever name the answer gave it. */
export function local(url: string): string {
  const at = url.indexOf("/files/");
  return at < 0 ? url : place(url.slice(at + 1));
}

/** Send a file; `told` hears the share that is sent. Fetch cannot tell that, so this does not use it. */
export function upload(file: File, told: (share: number) => void): Promise<string> {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", place(`v1/uploads?name=${encodeURIComponent(file.name)}`));
    for (const [name, value] of Object.entries(authorized())) request.setRequestHeader(name, value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    request.onerror = () => failed(new ApiError(0, "The server cannot be reached."));
    request.onload = () =>
      request.status === 200 ? done((JSON.parse(request.responseText) as { url: string }).url) : failed(refusal(request.status, request.responseText));
    request.send(file);
  });
}

/** An own upload; throws an ApiError once it has expired. */
export const download = async (uploadId: string) => (await call(`v1/uploads/${encodeURIComponent(uploadId)}`)).blob();

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });

/** Tell each change of a request until it has ended; a broken stream is taken up where it stopped. */
export async function follow(id: string, told: (status: Status) => void, lost: () => void, signal: AbortSignal): Promise<void> {
  const seen = { last: "", ended: false };
  while (!seen.ended && !signal.aborted) {
    try {
      const headers: Record<string, string> = seen.last ? { "Last-Event-ID": seen.last } : {};
      const answer = await call(asked(id, "/events"), { headers, signal });
      if (answer.status === 204 || !answer.body) return;
      await listen(answer.body, seen, told);
    } catch (error) {
      if (error instanceof ApiError && error.status > 0 && error.status < 500) throw error;
      if (!signal.aborted) lost();
    }
    if (!seen.ended) await pause(RETRY_MS, signal);
  }
}

async function listen(body: ReadableStream<Uint8Array>, seen: { last: string; ended: boolean }, told: (status: Status) => void): Promise<void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) tell(event, seen, told);
  }
}

function tell(event: string, seen: { last: string; ended: boolean }, told: (status: Status) => void): void {
  const field = (name: string) => event.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
  const data = field("data");
  if (!data) return;
  const status = JSON.parse(data) as Status;
  seen.last = field("id") ?? seen.last;
  seen.ended = ENDED.includes(status.status);
  told(status);
}

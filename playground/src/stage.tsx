/** The chosen request: its place, its progress with a picture, its result. */

import { useEffect, useState } from "preact/hooks";
import { type Input, type Listed, type Result, type Status, ENDED, cancel, follow, local, remove, result } from "./api";
import { Compare } from "./compare";
import { words } from "./fields";
import { askedFor, prompts, rememberAsked } from "./history";
import { fetchUpload, isUpload, showable } from "./sources";

const PLAYED = ["video/mp4", "video/webm"];
const LOST = "The server does not answer. Trying again…";
const percent = (share: number) => `${Math.round(share * 100)} %`;

interface Given { id: string; heard: (status: Status) => void; changed: () => void; again: (input: Input) => void; gone: () => void }

/** The status as it changes, and the result once there is one. */
function useRequest(id: string, heard: (status: Status) => void, changed: () => void) {
  const [status, setStatus] = useState<Status>();
  const [made, setMade] = useState<Result>();
  const [trouble, setTrouble] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    setStatus(undefined); setMade(undefined); setTrouble("");
    const told = (news: Status) => { setTrouble(""); setStatus(news); heard(news); };
    follow(id, told, () => setTrouble(LOST), stop.signal)
      .then(async () => {
        if (stop.signal.aborted) return;
        const found = await result(id);
        if (found.manifest?.input) rememberAsked(id, found.manifest.input);
        if (!stop.signal.aborted) setMade(found);
        changed();
      })
      .catch((error: Error) => !stop.signal.aborted && setTrouble(error.message));
    return () => stop.abort();
  }, [id]);
  return { status, made, trouble, setTrouble };
}

export function Stage({ id, heard, changed, again, gone }: Given) {
  const { status, made, trouble, setTrouble } = useRequest(id, heard, changed);
  const act = (verb: () => Promise<unknown>) => void verb().then(changed).catch((error: Error) => setTrouble(error.message));
  const asked = made?.manifest?.input ?? askedFor(id);
  const ended = made ? ENDED.includes(made.status) : false;
  return (
    <section class="stage" aria-label="The chosen request">
      <h2 class="state">{headline(status, made)}</h2>
      <p class="spoken" role="status">{spoken(status, made)}</p>
      {trouble && <p class="trouble" role="alert">{trouble}</p>}
      {made ? <Made made={made} source={asked?.video_url} /> : <Running status={status} />}
      <div class="actions">
        {made?.output?.video && <a class="button main" href={local(made.output.video)} download>Download</a>}
        {made?.control && <a class="button" href={local(made.control.video)} download>Control video</a>}
        {made && asked && <button type="button" onClick={() => again(asked)}>Use these settings</button>}
        {!ended && <button type="button" onClick={() => act(() => cancel(id))}>Cancel</button>}
        {ended && <Delete gone={() => void remove(id).then(gone).catch((error: Error) => setTrouble(error.message))} />}
      </div>
      {made && <Facts made={made} />}
    </section>
  );
}

function headline(status: Status | undefined, made: Result | undefined): string {
  if (made) return words(made.status);
  if (!status) return "looking…";
  if (status.queue_position) return `in queue, place ${status.queue_position}`;
  return status.progress ? `${status.progress.stage}, ${percent(status.progress.fraction)}` : words(status.status);
}

/** The headline for those who hear it: its share in quarters, since each change is read out. */
function spoken(status: Status | undefined, made: Result | undefined): string {
  const progress = made ? undefined : status?.progress;
  return progress ? `${progress.stage}, ${percent(Math.floor(progress.fraction * 4) / 4)}` : headline(status, made);
}

function Running({ status }: { status?: Status }) {
  const progress = status?.progress;
  return (
    <div class="running">
      {progress?.preview ? <img class="preview" src={local(progress.preview)} alt="How the clip looks so far" /> : <div class="empty preview">{progress ? "A picture comes after some steps." : "Waiting for a worker."}</div>}
      <progress aria-label="Progress" max={1} value={progress?.fraction ?? 0} />
      {progress && <p class="about">{progress.steps > 1 && `Step ${progress.step} of ${progress.steps}. `}{progress.eta_s != null && `About ${Math.ceil(progress.eta_s)} s left.`}</p>}
    </div>
  );
}

function Made({ made, source }: { made: Result; source?: unknown }) {
  const [before, setBefore] = useState(showable(source));
  const [gone, setGone] = useState("");
  if (made.error) return <p class="failure"><strong>{made.error.field ? `${made.error.field}: ` : ""}</strong>{made.error.message} <code>{made.error.code}</code></p>;
  if (!made.output?.video || !made.media) return null;
  const url = local(made.output.video);
  const { content_type: kind, width, height, audio } = made.media;
  if (kind.startsWith("image/")) return <img class="preview" src={url} alt="The result" />;
  if (!PLAYED.includes(kind)) return <p class="empty preview">Browsers do not play {kind}; download it.</p>;
  const compare = () => isUpload(source) && void fetchUpload(source).then(setBefore).catch((error: Error) => setGone(error.message));
  return (
    <>
      <Compare before={before} after={url} width={width} height={height} sound={audio} />
      {!before && isUpload(source) && !gone && <button type="button" class="quiet" onClick={compare}>Compare with the source</button>}
      {gone && <p class="about" role="alert">{gone}</p>}
    </>
  );
}

function Delete({ gone }: { gone: () => void }) {
  const [sure, setSure] = useState(false);
  return sure ? <button type="button" class="danger" onBlur={() => setSure(false)} onClick={gone}>Really delete?</button> : <button type="button" onClick={() => setSure(true)}>Delete</button>;
}

function Facts({ made }: { made: Result }) {
  const { media, manifest, metrics, warnings } = made;
  return (
    <>
      {warnings?.map((one, at) => <p class="warning" key={at}><strong>{one.field}</strong>: asked {JSON.stringify(one.asked)}, used {JSON.stringify(one.used)}: {one.why}</p>)}
      {media && manifest && (
        <dl class="facts">
          <dt>Prompt</dt><dd>{manifest.prompt}</dd>
          <dt>Clip</dt><dd>{media.width} × {media.height}, {media.frames} frames, {media.duration_s.toFixed(2)} s, {(media.size / 1e6).toFixed(2)} MB{media.audio ? ", with sound" : ""}</dd>
          <dt>Seed</dt><dd>{manifest.seed}</dd>
          {metrics?.total !== undefined && <><dt>Took</dt><dd>{metrics.total.toFixed(1)} s</dd></>}
        </dl>
      )}
    </>
  );
}

const sameDay = (one: Date, other: Date) => one.toDateString() === other.toDateString();
const when = (date: Date) => sameDay(date, new Date()) ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : date.toLocaleDateString([], { day: "numeric", month: "short" });

/** Own requests, newest first. */
export function Queue({ requests, chosen, choose, more }: { requests: Listed[]; chosen?: string; choose: (id: string) => void; more?: () => void }) {
  const asked = prompts();
  return (
    <section class="queue" aria-label="Your requests">
      <h2>Your requests</h2>
      {requests.length === 0 && <p class="about">None yet.</p>}
      <ul>
        {requests.map((one) => (
          <li key={one.request_id}>
            <button type="button" class={`item ${one.status}`} aria-current={one.request_id === chosen ? "true" : undefined} onClick={() => choose(one.request_id)}>
              <span class="dot" aria-hidden="true" />
              <span class="prompt">{asked.get(one.request_id) || one.request_id}</span>
              <span class="word">{one.progress ? `${one.progress.stage}, ${percent(one.progress.fraction)}` : words(one.status)}</span>
              <time class="when" dateTime={one.created_at}>{when(new Date(one.created_at))}</time>
              {one.progress && <span class="bar" aria-hidden="true"><progress max={1} value={one.progress.fraction} /></span>}
            </button>
          </li>
        ))}
      </ul>
      {more && <button type="button" class="quiet" onClick={more}>Older</button>}
    </section>
  );
}

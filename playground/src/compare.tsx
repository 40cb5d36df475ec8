/** Two videos, one over the other, with a border between them that can be moved. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const APART_S = 0.1;
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

interface Shown { before?: string; after: string; width: number; height: number; sound: boolean }

export function Compare({ before, after, width, height, sound }: Shown) {
  const stage = useRef<HTMLDivElement>(null);
  const made = useRef<HTMLVideoElement>(null);
  const source = useRef<HTMLVideoElement>(null);
  const [playing, setPlaying] = useState(false);
  const [muted, setMuted] = useState(true);
  const [at, setAt] = useState(50);
  const [broken, setBroken] = useState(false);
  const both = before && !broken;

  useEffect(() => setBroken(false), [before]);
  useEffect(() => { if (made.current) made.current.muted = muted; }, [muted]);
  useLayoutEffect(() => stage.current?.style.setProperty("--at", `${at}%`), [at]);
  useLayoutEffect(() => stage.current?.style.setProperty("aspect-ratio", `${width} / ${height}`), [width, height]);

  const keepTogether = () => {
    const [one, other] = [made.current, source.current];
    if (!one || !other) return;
    if (Math.abs(one.currentTime - other.currentTime) > APART_S && one.currentTime <= (other.duration || 0)) other.currentTime = one.currentTime;
    if (one.paused !== other.paused) void (one.paused ? other.pause() : other.play().catch(() => undefined));
  };
  const toggle = () => {
    const video = made.current;
    if (video) void (video.paused ? video.play().catch(() => undefined) : video.pause());
  };
  return (
    <div class="compare">
      <div class="videos" ref={stage}>
        <video ref={made} src={after} muted loop playsInline autoplay={!still()} aria-label="The result" onPlay={() => { setPlaying(true); keepTogether(); }} onPause={() => { setPlaying(false); keepTogether(); }} onTimeUpdate={keepTogether} onSeeked={keepTogether} />
        {both && (
          <>
            <video class="before" ref={source} src={before} muted playsInline preload="auto" aria-label="The source" onError={() => setBroken(true)} />
            <span class="border" aria-hidden="true" />
            <span class="tag left" aria-hidden="true">Before</span>
            <span class="tag right" aria-hidden="true">After</span>
            <input class="slide" type="range" min={0} max={100} step={1} value={at} aria-label="Before and after" aria-valuetext={`${at} per cent of the source`} onInput={(event) => setAt(Number(event.currentTarget.value))} />
          </>
        )}
        <div class="over">
          <button type="button" class="quiet" onClick={toggle}>{playing ? "Pause" : "Play"}</button>
          {sound && <button type="button" class="quiet" onClick={() => setMuted(!muted)}>{muted ? "Unmute" : "Mute"}</button>}
        </div>
      </div>
    </div>
  );
}

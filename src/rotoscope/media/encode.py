"""Write a clip in one of the four formats, so that it starts to play at once.

Colours are converted to BT.709 in limited range and tagged so: untagged or converted by BT.601, as
encoders do by default, players show them up to 40 of 255 off. The same clip gives the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from rotoscope.media.clip import Audio, Clip
from rotoscope.media.formats import CENTISECOND, FORMATS, Format, Sound, gif_frames
from rotoscope.media.gif import gif_pictures
from rotoscope.schema.input import OutputType, Quality
from rotoscope.schema.output import Media

BT709 = 1
AUDIO_BLOCK = 1024
BITEXACT = 0x00800000
"""FFmpeg's flag that leaves the encoder's version out of a stream."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A finished file and the facts about it."""

    path: Path
    media: Media


def encode(
    clip: Clip,
    *,
    quality: Quality,
    into: Path,
    output_type: OutputType = "X264 (.mp4)",
    name: str | None = None,
) -> Encoded:
    """Write `clip` to `into / name`, or to "video" there; the file appears whole or not at all."""
    form = FORMATS[output_type]
    path = into / (name or f"video{form.extension}")
    draft = into / f".{path.name}.part"
    try:
        if form.container == "gif":
            _write_gif(clip, draft, form, quality)
        else:
            _write(clip, draft, form, quality)
        media = read_media(draft, form)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return Encoded(path, media)


def read_media(path: Path, form: Format) -> Media:
    """What a file that was written here is, by reading it."""
    with av.open(path, format=form.container) as container:
        stream: Any = container.streams.video[0]
        context, audio = stream.codec_context, bool(container.streams.audio)
        spans = [(p.pts, p.duration) for p in container.demux(stream) if p.pts is not None]
    end = max(pts + duration for pts, duration in spans)
    duration_s = (end - min(pts for pts, _ in spans)) * stream.time_base
    # A GIF has times, and no rate of its own.
    fps = len(spans) / duration_s if form.container == "gif" else stream.average_rate
    return Media(
        content_type=form.content_type,
        size=path.stat().st_size,
        width=context.width,
        height=context.height,
        fps=str(fps),
        frames=len(spans),
        duration_s=round(float(duration_s), 6),
        audio=audio,
    )


def _write(clip: Clip, draft: Path, form: Format, quality: Quality) -> None:
    sound = clip.audio and form.sound
    with _open(draft, form, {}) as container:
        video = _video_stream(container, clip, form, quality)
        audio: Any = _audio_stream(container, clip.audio, sound) if clip.audio and sound else None
        blocks = _sound_blocks(clip) if sound else iter(())
        for index, frame in enumerate(_frames(clip, form), start=1):
            container.mux(video.encode(frame))
            for block in _until(blocks, index / clip.fps):
                container.mux(audio.encode(block))
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))


def _write_gif(clip: Clip, draft: Path, form: Format, quality: Quality) -> None:
    *_, (_, last), (_, end) = gif_frames(len(clip.frames_THWC), clip.fps)
    with _open(draft, form, {"final_delay": str(end - last)}) as container:
        stream = container.add_stream(form.codec, rate=clip.fps)
        stream.width, stream.height = clip.size.width, clip.size.height
        stream.pix_fmt = form.pix_fmt
        stream.codec_context.time_base = CENTISECOND
        for picture in gif_pictures(clip, form.levels[quality]):
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _open(draft: Path, form: Format, more: dict[str, str]) -> Any:
    options = {"fflags": "+bitexact", **form.muxing, **more}
    return av.open(draft, "w", format=form.container, options=options)


def _video_stream(container: Any, clip: Clip, form: Format, quality: Quality) -> Any:
    options = {**form.options, **form.levels[quality]}
    stream = container.add_stream(form.codec, rate=clip.fps, options=options)
    stream.width, stream.height = clip.size.width, clip.size.height
    stream.pix_fmt = form.pix_fmt
    context = stream.codec_context
    # PyAV's own choice, threads within a frame alone, costs x264 a fifth of its speed, and bytes.
    context.thread_type = "AUTO"
    context.time_base = 1 / clip.fps
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return stream


def _audio_stream(container: Any, audio: Audio, sound: Sound) -> Any:
    stream = container.add_stream(sound.codec, rate=sound.rate or audio.rate)
    stream.layout = _layout(audio)
    if sound.bits_a_second:
        stream.bit_rate = sound.bits_a_second
    stream.codec_context.flags |= BITEXACT
    return stream


def _layout(audio: Audio) -> str:
    return "stereo" if len(audio.samples_CS) == 2 else "mono"  # noqa: PLR2004 - two ears


def _frames(clip: Clip, form: Format) -> Iterator[VideoFrame]:
    reformatter = VideoReformatter()
    for index, pixels in enumerate(clip.frames_THWC):
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = reformatter.reformat(
            rgb,
            format=form.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        # ProRes writes into each frame what the frame says of itself.
        frame.color_primaries = frame.color_trc = BT709
        frame.pts, frame.time_base = index, 1 / clip.fps
        yield frame


def _sound_blocks(clip: Clip) -> Iterator[Any]:
    """The sound in blocks, made to end with the picture: padded with silence, or cut."""
    if clip.audio is None:
        return
    rate = clip.audio.rate
    length = round(len(clip.frames_THWC) / clip.fps * rate)
    samples_CS = clip.audio.samples_CS[:, :length]
    samples_CS = np.pad(samples_CS, ((0, 0), (0, length - samples_CS.shape[1])))
    for start in range(0, length, AUDIO_BLOCK):
        block_CS = np.ascontiguousarray(samples_CS[:, start : start + AUDIO_BLOCK])
        block = av.AudioFrame.from_ndarray(block_CS, format="fltp", layout=_layout(clip.audio))
        block.sample_rate, block.pts, block.time_base = rate, start, Fraction(1, rate)
        yield block


def _until(blocks: Iterator[Any], seconds: Fraction) -> Iterator[Any]:
    """The next blocks, until one ends at or after `seconds`: all, once the picture has ended."""
    for block in blocks:
        yield block
        if (block.pts + block.samples) * block.time_base >= seconds:
            return

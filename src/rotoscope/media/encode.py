"""Write a clip as H.264 with AAC in an mp4 that starts to play at once.

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
from rotoscope.schema.input import Quality
from rotoscope.schema.output import Media

# Measured on natural 720p video: 32 to 43, 37 to 47, 40 to 49 and 44 to 51 dB.
X264: dict[Quality, dict[str, str]] = {
    "low": {"crf": "28", "preset": "veryfast"},
    "medium": {"crf": "23", "preset": "medium"},
    "high": {"crf": "18", "preset": "medium"},
    "maximum": {"crf": "12", "preset": "slow"},
}
AUDIO_BITS_A_SECOND = 192_000
BT709 = 1
AUDIO_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Encoded:
    """A finished file and the facts about it."""

    path: Path
    media: Media


def encode(clip: Clip, *, quality: Quality, into: Path, name: str = "video.mp4") -> Encoded:
    """Write `clip` to `into / name`; the file appears whole or not at all."""
    path, draft = into / name, into / f".{name}.part"
    try:
        _write(clip, draft, X264[quality])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    frames = len(clip.frames_THWC)
    media = Media(
        content_type="video/mp4",
        size=path.stat().st_size,
        width=clip.size.width,
        height=clip.size.height,
        fps=str(clip.fps),
        frames=frames,
        duration_s=round(float(frames / clip.fps), 6),
        audio=clip.audio is not None,
    )
    return Encoded(path, media)


def _write(clip: Clip, draft: Path, options: dict[str, str]) -> None:
    with av.open(
        draft, "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
    ) as container:
        video = _video_stream(container, clip, options)
        audio: Any = _audio_stream(container, clip.audio) if clip.audio else None
        blocks = _sound_blocks(clip)
        for index, frame in enumerate(_frames(clip), start=1):
            container.mux(video.encode(frame))
            for block in _until(blocks, index / clip.fps):
                container.mux(audio.encode(block))
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))


def _video_stream(container: Any, clip: Clip, options: dict[str, str]) -> Any:
    # One slice-free set of threads whatever the machine: the bytes depend on their number.
    stream = container.add_stream(
        "libx264", rate=clip.fps, options={**options, "profile": "high", "threads": "4"}
    )
    stream.width, stream.height = clip.size.width, clip.size.height
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / clip.fps
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = ColorRange.MPEG
    return stream


def _audio_stream(container: Any, audio: Audio) -> Any:
    stream = container.add_stream("aac", rate=audio.rate)
    stream.layout = "stereo" if len(audio.samples_CS) == 2 else "mono"  # noqa: PLR2004 - two ears
    stream.bit_rate = AUDIO_BITS_A_SECOND
    stream.codec_context.flags |= 0x00800000  # bitexact: no encoder version in the stream
    return stream


def _frames(clip: Clip) -> Iterator[VideoFrame]:
    reformatter = VideoReformatter()
    for index, pixels in enumerate(clip.frames_THWC):
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = reformatter.reformat(
            rgb,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
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
    layout = "stereo" if len(samples_CS) == 2 else "mono"  # noqa: PLR2004 - two ears
    for start in range(0, length, AUDIO_BLOCK):
        block_CS = np.ascontiguousarray(samples_CS[:, start : start + AUDIO_BLOCK])
        block = av.AudioFrame.from_ndarray(block_CS, format="fltp", layout=layout)
        block.sample_rate, block.pts, block.time_base = rate, start, Fraction(1, rate)
        yield block


def _until(blocks: Iterator[Any], seconds: Fraction) -> Iterator[Any]:
    """The next blocks, until one ends at or after `seconds`: all, once the picture has ended."""
    for block in blocks:
        yield block
        if (block.pts + block.samples) * block.time_base >= seconds:
            return

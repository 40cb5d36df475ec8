"""The child process that opens untrusted video; of ours it imports small modules of this package.

Standard input is the video, opened by the parent. Arguments are a JSON object: `{"do": "probe"}`,
or `{"do": "decode", "frames", "fps": [num, den], "width", "height"}`. Standard output, a pipe, is
raw RGB frames for a decode, one JSON object for a probe. What is wrong goes to standard error as
`{"error": ..., "message": ...}` with exit status 3.
"""

import gc
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import Any, NoReturn

import av
from av.video.frame import VideoFrame

from rotoscope.media.confine import confine, silence_libraries
from rotoscope.media.facts import MAX_PIXELS, MAX_SIDE, UnreadableError
from rotoscope.media.interlaced import deinterlaced
from rotoscope.media.rgb import RgbWriter, check_size, displayed_size
from rotoscope.media.streams import Times, shown_stream

# Each thread holds pictures of its own, so that memory must not depend on the machine's cores.
THREADS = 4
FD = 0
NOT_FOR_DECODING = ("av.__main__", "av.datasets")
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,gif,asf,flv,ogg"
CODECS = (
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,prores,mjpeg,mpeg1video,mpeg2video,mpeg4,gif,"
    "ffv1,rawvideo,dnxhd,theora,wmv1,wmv2,wmv3,vc1,flv,h263,png,webp"
)
# The file that is open already, and nothing that a container could name: no path, no address.
OPTIONS = {"fd": str(FD), "protocol_whitelist": "fd", "format_whitelist": FORMATS}
# FFmpeg counts lines of a multiple of 64 pixels; the exact limit is rgb.py's.
LIMITS = {"max_pixels": str(MAX_PIXELS + 64 * MAX_SIDE), "codec_whitelist": CODECS}
PROBING = {"probesize": "5000000"}
# Fewer pictures than this say little about a rate.
LEAST_TO_MEASURE = 3
RATE_TOLERANCE = 0.02
NTSC_RATES = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))
ROUNDED = 1e-6
LEAST_TICKS_A_FRAME = 8
USUAL_RATE = Fraction(25)
COLLECT_AFTER = 20


def main() -> None:
    order = json.loads(sys.argv[1])
    complaints = silence_libraries()
    load = loader()
    confine()
    collect_often()
    try:
        video = load()
        if order["do"] == "probe":
            json.dump(probe(video), sys.stdout)
            sys.stdout.flush()
        else:
            write_frames(video, order)
    except UnreadableError as error:
        refuse(complaints, error.kind, error.reason)
    except MemoryError:
        refuse(complaints, "too_large", "reading it takes too much memory")
    except av.error.FFmpegError as error:
        refuse(complaints, *explain(error))
    # Nothing is left to tidy up, and a decoder's threads are not waited for.
    os._exit(0)


def collect_often() -> None:
    """A frame and its side data hold each other, and would wait by the hundred to be freed."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 1, 1)


def loader() -> Any:
    """What opens the file: chosen, and its libraries loaded, while files can still be opened."""
    # PyAV imports parts of itself when a file first needs them.
    for part in pkgutil.walk_packages(av.__path__, "av."):
        if part.name not in NOT_FOR_DECODING:
            import_module(part.name)
    head = os.pread(FD, 12, 0)
    if head[:4] != b"RIFF" or head[8:] != b"WEBP":
        return open_video
    from rotoscope.media.webp import open_webp  # noqa: PLC0415 - Pillow takes time to load

    return lambda: open_webp(FD)


def refuse(complaints: int, kind: str, message: str) -> NoReturn:
    os.write(complaints, json.dumps({"error": kind, "message": message}).encode())
    os._exit(3)


def explain(error: av.error.FFmpegError) -> tuple[str, str]:
    """Kind and reason; a refused picture has no size any more, so that it is asked for again."""
    try:
        check_claimed_size()
    except UnreadableError as claimed:
        return claimed.kind, claimed.reason
    return "unsupported", f"it cannot be read as video ({error.strerror})"


def check_claimed_size() -> None:
    with suppress(av.error.FFmpegError, MemoryError):
        options = {**OPTIONS, "analyzeduration": "0"}
        for stream in open_container(options).streams.video:
            check_size(stream.codec_context.width, stream.codec_context.height)


@dataclass(frozen=True, slots=True)
class Video:
    """A container that FFmpeg reads, and the stream of it that is shown."""

    container: Any
    stream: Any

    @property
    def codec(self) -> str:
        return str(self.stream.codec_context.name)

    @property
    def aspect(self) -> Fraction | None:
        """Of a pixel: its width by its height."""
        aspect: Fraction | None = self.stream.sample_aspect_ratio
        return aspect

    @property
    def tick(self) -> Fraction | None:
        tick: Fraction | None = self.stream.time_base
        return tick

    @property
    def claimed_rate(self) -> Fraction:
        rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or USUAL_RATE)
        # Matroska tells a frame's length in nanoseconds, of which FFmpeg makes 19001/317.
        return next((usual for usual in NTSC_RATES if abs(rate / usual - 1) < ROUNDED), rate)

    def measure(self) -> tuple[int, float]:
        """Pictures, and seconds from the first to the last one's end, by the packets' own times.

        Headers lie, or say nothing; a truncated file is as long as what can be read of it.
        """
        container, stream = rewound(self.container, self.stream)
        count, first, last = 0, None, (0, 0)
        with suppress(av.error.FFmpegError):
            for packet in container.demux(stream):
                # What an edit list cuts off is decoded, but never shown.
                if packet.is_discard:
                    continue
                count += packet.size > 0
                if packet.pts is not None:
                    first = packet.pts if first is None else min(first, packet.pts)
                    last = max(last, (packet.pts, packet.duration or 0))
        if first is None or self.tick is None:
            return count, count / float(self.claimed_rate)
        length = last[1] * self.tick or 1 / self.claimed_rate
        return count, float((last[0] - first) * self.tick + length)

    def frames(self) -> Iterator[VideoFrame]:
        return deinterlaced(readable(self.container, self.stream))


def open_container(options: dict[str, str]) -> Any:
    os.lseek(FD, 0, os.SEEK_SET)
    return av.open("fd:", options=options, metadata_errors="replace")


def rewound(container: Any, stream: Any) -> tuple[Any, Any]:
    """Both at the file's start; opened again where the container cannot be sought in."""
    try:
        container.seek(0)
    except av.error.FFmpegError:
        container = open_container({**OPTIONS, **LIMITS, **PROBING})
        stream = container.streams[stream.index]
    return container, stream


def open_video() -> Video:
    """The stream that a player would show. The limits are given twice: to probe, to decode."""
    container = open_container({**OPTIONS, **LIMITS, **PROBING})
    stream = shown_stream(container, CODECS.split(","))
    stream.codec_context.options = LIMITS
    stream.codec_context.thread_count = THREADS
    stream.thread_type = "AUTO"
    check_size(stream.codec_context.width, stream.codec_context.height)
    return Video(container, stream)


def probe(video: Any) -> dict[str, Any]:
    width, height = displayed_size(first_frame(video), video.aspect)
    check_size(width, height)
    count, duration_s = video.measure()
    fps = rate_of(video.claimed_rate, count, duration_s)
    return {
        "width": width,
        "height": height,
        "fps": [fps.numerator, fps.denominator],
        "duration_s": duration_s,
        "codec": video.codec,
    }


def rate_of(claimed: Fraction, count: int, duration_s: float) -> Fraction:
    """The exact rate that the header claims, unless the packets say otherwise."""
    if count < LEAST_TO_MEASURE or duration_s <= 0:
        return claimed
    measured = count / duration_s
    if abs(measured / float(claimed) - 1) < RATE_TOLERANCE:
        return claimed
    return Fraction(measured).limit_denominator(1001)


def first_frame(video: Any) -> VideoFrame:
    frame: VideoFrame | None = next(video.frames(), None)
    if frame is not None:
        return frame
    raise UnreadableError("too_short", "it has no frame that can be shown")


def write_frames(video: Any, order: dict[str, Any]) -> None:
    """For k from 0: the newest frame shown by k / fps, as long as the source lasts."""
    fps, wanted = Fraction(*order["fps"]), order["frames"]
    to_rgb = RgbWriter(order["width"], order["height"])
    written = 0
    for frame, shown_until in timed_frames(video):
        pixels = None
        while written < wanted and Fraction(written) / fps < shown_until:
            pixels = pixels or to_rgb(frame, video.aspect)
            sys.stdout.buffer.write(pixels)
            written += 1
        if written >= wanted:
            break
    if written == 0:
        raise UnreadableError("too_short", "it has no frame that can be shown")
    sys.stdout.buffer.flush()


def timed_frames(video: Any) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Frames with the time, counted from the first, at which the next one takes over."""
    rate = video.claimed_rate
    slack = rounding(video.tick, rate)
    held: VideoFrame | None = None
    start = at = last_length = Fraction(0)
    for index, frame in enumerate(video.frames()):
        now = index / rate if frame.pts is None else seconds(frame.pts, frame)
        if held is None:
            start = now
        elif now - start > at:
            yield held, now - start - slack
            at = now - start
        held = frame
        last_length = seconds(frame.duration or 0, frame) or 1 / rate
    if held is not None:
        yield held, at + last_length - slack


def rounding(tick: Fraction | None, rate: Fraction) -> Fraction:
    """How late a frame may seem because its container counts time in coarse ticks.

    Matroska rounds to milliseconds: without this, one frame in three of 29.97 a second would be
    repeated and the next one lost. A tick near a frame's own length is exact instead.
    """
    return tick if tick and tick * LEAST_TICKS_A_FRAME < 1 / rate else Fraction(0)


def seconds(ticks: int, frame: VideoFrame) -> Fraction:
    return ticks * (frame.time_base or Fraction(0))


def readable(container: Any, stream: Any) -> Iterator[VideoFrame]:
    """Frames as far as the file can be read; damaged ones are left out, as players do.

    Damage and no frame at all is an error.
    """
    damage: av.error.FFmpegError | None = None
    count = 0
    times = Times(container)
    for packet in packets_of(container, stream):
        try:
            frames = stream.decode(packet)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            damage = error
            continue
        times.decoded(packet)
        count += len(frames)
        yield from map(times.told, frames)
    if damage and count == 0:
        raise damage


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """Packets to the file's end; where it breaks off, None asks the decoder for what it holds."""
    with suppress(av.error.FFmpegError):
        yield from container.demux(stream)
        return
    yield None


if __name__ == "__main__":
    main()

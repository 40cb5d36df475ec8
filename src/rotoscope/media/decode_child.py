"""The child process that opens untrusted video; run as a file, it imports av and numpy alone.

Standard input is the video, opened by the parent. Arguments are a JSON object: `{"do": "probe"}`,
or `{"do": "decode", "frames", "fps": [num, den], "width", "height"}`. Standard output is raw RGB
frames for a decode, one JSON object for a probe. What is wrong goes to standard error as
`{"error": ..., "message": ...}` with exit status 3.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, NoReturn

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

MAX_SIDE = 8192
MAX_PIXELS = 36_000_000
CPU_SECONDS = 300
MEMORY_BYTES = 4 * 2**30
# Each thread holds pictures of its own, so that memory must not depend on the machine's cores.
THREADS = 4
PATH = "/dev/fd/0"
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,gif,asf,flv,ogg"
CODECS = (
    "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,prores,mjpeg,mpeg1video,mpeg2video,mpeg4,gif,"
    "ffv1,rawvideo,dnxhd,theora,wmv1,wmv2,wmv3,vc1,flv,h263,png,webp"
)
HD_HEIGHT = 720
# Fewer pictures than this say little about a rate.
LEAST_TO_MEASURE = 3
RATE_TOLERANCE = 0.02
LEAST_TICKS_A_FRAME = 8
UNSPECIFIED = 2
BT709 = 1
# SMPTE 2084 (PQ) and ARIB STD-B67 (HLG), by their numbers in ITU-T H.273.
HDR_TRANSFERS = (16, 18)
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    order = json.loads(sys.argv[1])
    confine()
    try:
        if order["do"] == "probe":
            json.dump(probe(), sys.stdout)
        else:
            write_frames(order)
    except MemoryError:
        refuse("too_large", "reading it takes too much memory")
    except av.error.FFmpegError as error:
        check_claimed_size()
        refuse("unsupported", f"it cannot be read as video ({error.strerror})")


def confine() -> None:
    """Give up what decoding does not need; the network where the system lets us."""
    for limit, value in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Refused to a process with threads (sandbox.py sees to that), and containers may deny it: some
    # the first form, some both. The protocol list and the fetch guard stand in any case.
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        libc.unshare(CLONE_NEWNET)


def refuse(kind: str, message: str) -> NoReturn:
    json.dump({"error": kind, "message": message}, sys.stderr)
    sys.stderr.flush()
    os._exit(3)


def open_video() -> tuple[Any, Any]:
    """The container and its video stream. The limits are given twice: for probing, for decoding."""
    limits = {"max_pixels": str(MAX_PIXELS), "codec_whitelist": CODECS}
    container = av.open(
        PATH,
        options={
            **limits,
            "format_whitelist": FORMATS,
            "protocol_whitelist": "file",
            "probesize": "5000000",
        },
        metadata_errors="replace",
    )
    pictures = [s for s in container.streams.video if not s.disposition.value & 0x400]
    if not pictures:
        refuse("unsupported", "it has no video stream")
    stream = pictures[0]
    if stream.codec_context is None or stream.codec_context.name not in CODECS.split(","):
        refuse("unsupported", "its codec is not read here")
    stream.codec_context.options = limits
    stream.codec_context.thread_count = THREADS
    stream.thread_type = "AUTO"
    check_size(stream.codec_context.width, stream.codec_context.height)
    return container, stream


def check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        refuse(
            "too_large",
            f"it is {width}x{height}; at most {MAX_SIDE} pixels a side and "
            f"{MAX_PIXELS // 10**6} million pixels are read",
        )


def check_claimed_size() -> None:
    """Whether what could not be read was too large: a refused picture has no size any more."""
    claims = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "analyzeduration": "0"}
    with suppress(av.error.FFmpegError, MemoryError):
        for stream in av.open(PATH, options=claims, metadata_errors="replace").streams.video:
            check_size(stream.codec_context.width, stream.codec_context.height)


def probe() -> dict[str, Any]:
    container, stream = open_video()
    first = first_frame(container, stream)
    width, height = displayed_size(first, stream)
    check_size(width, height)
    claimed = stream.average_rate or stream.guessed_rate or Fraction(25)
    count, duration_s = measure(container, stream, claimed)
    fps = rate_of(claimed, count, duration_s)
    return {
        "width": width,
        "height": height,
        "fps": [fps.numerator, fps.denominator],
        "duration_s": duration_s,
        "codec": stream.codec_context.name,
    }


def rate_of(claimed: Fraction, count: int, duration_s: float) -> Fraction:
    """The exact rate that the header claims, unless the packets say otherwise."""
    if count < LEAST_TO_MEASURE or duration_s <= 0:
        return claimed
    measured = count / duration_s
    if abs(measured / float(claimed) - 1) < RATE_TOLERANCE:
        return claimed
    return Fraction(measured).limit_denominator(1001)


def first_frame(container: Any, stream: Any) -> VideoFrame:
    for frame in readable(container, stream):
        return frame
    refuse("too_short", "it has no frame that can be shown")


def displayed_size(frame: VideoFrame, stream: Any) -> tuple[int, int]:
    """As a player shows it: sample aspect applied, then rotated."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width = max(1, round(frame.width * aspect)) if aspect > 0 else frame.width
    turned = frame.rotation % 180 != 0
    return (frame.height, width) if turned else (width, frame.height)


def measure(container: Any, stream: Any, fps: Fraction) -> tuple[int, float]:
    """Pictures, and seconds from the first to the last one's end, by the packets' own times.

    Headers lie, or say nothing; a truncated file is as long as what can be read of it.
    """
    container.seek(0)
    times: list[tuple[float, float]] = []
    count = 0
    with suppress(av.error.FFmpegError):
        for packet in container.demux(stream):
            # What an edit list cuts off is decoded, but never shown.
            if packet.is_discard:
                continue
            count += packet.size > 0
            if packet.pts is not None:
                base = packet.time_base
                times.append((float(packet.pts * base), float((packet.duration or 0) * base)))
    if not times:
        return count, count / float(fps)
    last, length = max(times)
    return count, last - min(times)[0] + (length or 1 / float(fps))


def write_frames(order: dict[str, Any]) -> None:
    """For k from 0: the newest frame shown by k / fps, as long as the source lasts."""
    container, stream = open_video()
    fps, wanted = Fraction(*order["fps"]), order["frames"]
    to_rgb = RgbWriter(order["width"], order["height"])
    written = 0
    for frame, shown_until in timed_frames(container, stream):
        pixels = None
        while written < wanted and Fraction(written) / fps < shown_until:
            pixels = pixels or to_rgb(frame, stream)
            sys.stdout.buffer.write(pixels)
            written += 1
        if written >= wanted:
            break
    if written == 0:
        refuse("too_short", "it has no frame that can be shown")
    sys.stdout.buffer.flush()


def timed_frames(container: Any, stream: Any) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Frames with the time, counted from the first, at which the next one takes over."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    slack = rounding(stream.time_base, rate)
    held: VideoFrame | None = None
    start = at = last_length = Fraction(0)
    for index, frame in enumerate(readable(container, stream)):
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
    for packet in packets_of(container, stream):
        try:
            frames = stream.decode(packet)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            damage = error
            continue
        count += len(frames)
        yield from frames
    if damage and count == 0:
        raise damage


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """Packets to the file's end; where it breaks off, None asks the decoder for what it holds."""
    with suppress(av.error.FFmpegError):
        yield from container.demux(stream)
        return
    yield None


class RgbWriter:
    """Frames to raw RGB of one size: colours right, upright, covered, cropped to the centre."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        # One for all frames: HDR tables take two seconds to make.
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, stream: Any) -> bytes:
        shown_width, shown_height = displayed_size(frame, stream)
        cover = max(self._width / shown_width, self._height / shown_height)
        width = max(self._width, round(shown_width * cover))
        height = max(self._height, round(shown_height * cover))
        turns = frame.rotation // 90 % 4
        if turns % 2:
            rgb = np.rot90(self._to_rgb(frame, height, width), turns)
        else:
            rgb = np.rot90(self._to_rgb(frame, width, height), turns)
        top, left = (rgb.shape[0] - self._height) // 2, (rgb.shape[1] - self._width) // 2
        return rgb[top : top + self._height, left : left + self._width].tobytes()

    def _to_rgb(self, frame: VideoFrame, width: int, height: int) -> np.ndarray[Any, Any]:
        hdr = frame.color_trc in HDR_TRANSFERS
        shrinks = width * height < frame.width * frame.height
        return self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=matrix_of(frame),
            dst_colorspace=Colorspace.ITU709 if hdr else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA if shrinks else Interpolation.LANCZOS,
            **({"dst_color_primaries": BT709, "dst_color_trc": BT709} if hdr else {}),
        ).to_ndarray()


def matrix_of(frame: VideoFrame) -> Colorspace | None:
    """Untagged HD is BT.709, as browsers take it; the decoder's own guess is BT.601."""
    untagged = frame.colorspace == UNSPECIFIED
    return Colorspace.ITU709 if untagged and frame.height >= HD_HEIGHT else None


if __name__ == "__main__":
    main()

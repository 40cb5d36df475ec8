"""Video files of every awkward kind, made on the spot, and a server to fetch them from."""

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from tests.https_site import HttpsSite, https_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HttpsSite]:
    with https_site(tmp_path) as opened:
        yield opened


PLANAR = "yuv420p"

# Colours far enough apart to be told after any encoding: one per frame, in turn.
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200))


def colour_of(frame: np.ndarray[Any, Any]) -> int:
    """Which of COLOURS a frame shows in its middle."""
    height, width, _ = frame.shape
    middle = frame[height // 4 : -height // 4, width // 4 : -width // 4].reshape(-1, 3).mean(0)
    return int(np.abs(np.array(COLOURS) - middle).sum(axis=1).argmin())


def plain(index: int, width: int, height: int) -> np.ndarray[Any, Any]:
    return np.full((height, width, 3), COLOURS[index % len(COLOURS)], dtype=np.uint8)


def corner(_: int, width: int, height: int) -> np.ndarray[Any, Any]:
    """Grey with its top left quarter red: shows which way up a picture is."""
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (220, 30, 30)
    return pixels


def make_video(
    path: Path,
    *,
    count: int = 10,
    size: tuple[int, int] = (64, 48),
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: list[int] | None = None,
    picture: Callable[[int, int, int], np.ndarray[Any, Any]] = plain,
    setup: Callable[[Any], None] = lambda _: None,
    prepare: Callable[[VideoFrame], VideoFrame] = lambda frame: frame,
    options: dict[str, str] | None = None,
    sound: bool = False,
) -> Path:
    """Write `count` frames; `times` gives their presentation times in 1/1000 s."""
    with av.open(path, "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        setup(stream)
        tone: Any = add_sound(container) if sound else None
        for index in range(count):
            frame = prepare(VideoFrame.from_ndarray(picture(index, *size), format="rgb24"))
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            else:
                frame.pts, frame.time_base = index, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            write_tone(container, tone)
    return path


def write_tone(container: Any, stream: Any, seconds: float = 0.5) -> None:
    """A tone into a stream that was added before anything was written."""
    samples = np.sin(np.arange(int(24000 * seconds)) / 8).astype(np.float32)[None] * 0.3
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 24000, 0, Fraction(1, 24000)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def add_sound(container: Any) -> Any:
    stream = container.add_stream("aac", rate=24000)
    stream.layout = "mono"
    return stream


def make_claiming(path: Path, size: tuple[int, int]) -> Path:
    """An AVI of small JPEG pictures that says everywhere that they are of `size`."""
    make_video(path, codec="mjpeg", pix_fmt="yuvj420p", prepare=lambda f: f.reformat(format=PLANAR))
    data = path.read_bytes()
    data = data.replace(struct.pack("<II", 64, 48), struct.pack("<II", *size))
    # In a JPEG's own header the height comes first, after the depth of 8 bits.
    data = data.replace(struct.pack(">BHH", 8, 48, 64), struct.pack(">BHH", 8, *reversed(size)))
    path.write_bytes(data)
    return path


def set_rotation(path: Path, degrees: int) -> Path:
    """Turn an mp4 by writing its display matrix, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    turns = {
        0: (one, 0, 0, one),
        90: (0, one, -one, 0),
        180: (-one, 0, 0, -one),
        270: (0, -one, one, 0),
    }
    a, b, c, d = turns[degrees]
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    for index, value in enumerate(matrix):
        data[at + 4 * index : at + 4 * index + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path

"""What each format gives at each level: megabytes, likeness to what was encoded, seconds.

    python -m bench.encode [--clip FILE] [--frames 61] [--width 1280] [--height 704] [--save]

The clip is the sample that ships, without sound. Files are decoded as their tags say, and every
fourth frame is compared with the one that was encoded: PSNR over red, green and blue; SSIM and VIF
(visual information fidelity, mean of its four scales) over luma, by FFmpeg's filters. Seconds are
the processor's, which other work on the machine hardly changes, and the wall's. With --save the
figures go to docs/measured/encode.json, from which `make docs` writes docs/reference/encode.md.
Takes three minutes of one core.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.frame import VideoFrame
from rich.console import Console
from rich.table import Table

from bench.scene import scene
from rotoscope.media.clip import Clip, Frames, Size
from rotoscope.media.decode import decode, probe
from rotoscope.media.encode import encode
from rotoscope.media.formats import FORMATS, QUALITIES
from rotoscope.schema.input import OutputType, Quality

SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"
SAVED = Path(__file__).parent.parent / "docs" / "measured" / "encode.json"
LUMA = np.array([0.2126, 0.7152, 0.0722])
VIF_SCALES = range(4)
EVERY = 4
"""Of the frames, those that are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One format at one level."""

    output_type: OutputType
    quality: Quality
    settings: dict[str, str]
    megabytes: float
    psnr_db: float
    ssim: float
    vif: float
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """Of one frame to another: mean squared error in 0 to 255 squared, SSIM and VIF in 0 to 1."""

    error: float
    ssim: float
    vif: float


def main() -> None:
    options = read_options()
    clip = read_clip(options)
    rows = list(measure(clip))
    where = scene(
        ("rotoscope", "av"),
        clip=f"{options.clip.name}, {len(clip.frames_THWC)} frames of {clip.size}, {clip.fps} fps",
    )
    console = Console(highlight=False)
    console.print(table(rows))
    console.print(where, markup=False, soft_wrap=True)
    if options.save:
        save(rows, where)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Size, likeness and seconds of each format.")
    parser.add_argument("--clip", type=Path, default=SAMPLE)
    for name, default in (("frames", 61), ("width", 1280), ("height", 704)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--save", action="store_true", help=f"Write {SAVED.name} for the docs.")
    return parser.parse_args()


def read_clip(options: argparse.Namespace) -> Clip:
    fps = probe(options.clip).fps
    size = Size(options.width, options.height)
    return Clip(decode(options.clip, frames=options.frames, fps=fps, size=size), fps)


def measure(clip: Clip) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="rotoscope-bench-") as folder:
        for name, form in FORMATS.items():
            for quality in QUALITIES:
                cpu, wall = time.process_time(), time.perf_counter()
                made = encode(clip, quality=quality, into=Path(folder), output_type=name)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                yield Row(
                    output_type=name,
                    quality=quality,
                    settings=dict(form.levels[quality]),
                    megabytes=made.media.size / 1e6,
                    **likeness(made.path, clip.frames_THWC),
                    cpu_s=cpu,
                    wall_s=wall,
                )


def likeness(path: Path, frames_THWC: Frames) -> dict[str, float]:
    """Means over frames; the error's mean is taken before its logarithm."""
    with av.open(path) as container:
        shown = islice(container.decode(video=0), 0, None, EVERY)
        each = list(compared(shown, frames_THWC[::EVERY]))
    error = statistics.mean(one.error for one in each)
    return {
        "psnr_db": float(10 * np.log10(255**2 / error)),
        "ssim": statistics.mean(one.ssim for one in each),
        "vif": statistics.mean(one.vif for one in each),
    }


def compared(shown: Iterable[VideoFrame], frames_THWC: Frames) -> Iterator[Likeness]:
    size = Size(frames_THWC.shape[2], frames_THWC.shape[1])
    ssim, vif = Comparison("ssim", size), Comparison("vif", size)
    for frame, other_HWC in zip(shown, frames_THWC, strict=True):
        one_HWC = frame.to_ndarray(format="rgb24")
        lumas = luma(one_HWC), luma(other_HWC)
        scales = vif.of(*lumas)
        yield Likeness(
            float(np.square(one_HWC.astype(np.float32) - other_HWC).mean()),
            ssim.of(*lumas)["lavfi.ssim.Y"],
            statistics.mean(scales[f"lavfi.vif.scale.{scale}"] for scale in VIF_SCALES),
        )


def luma(frame_HWC: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    rounded_HW: npt.NDArray[np.uint8] = np.rint(frame_HWC @ LUMA).astype(np.uint8)
    return rounded_HW


class Comparison:
    """One of FFmpeg's filters that compare two pictures."""

    def __init__(self, name: str, size: Size) -> None:
        self._graph = Graph()
        picture: dict[str, Any] = {"width": size.width, "height": size.height, "format": "gray"}
        picture["time_base"] = Fraction(1, 1000)
        self._inputs = [self._graph.add_buffer(**picture) for _ in range(2)]
        self._output = self._graph.add("buffersink")
        comparing = self._graph.add(name)
        for index, one in enumerate(self._inputs):
            one.link_to(comparing, 0, index)
        comparing.link_to(self._output)
        self._graph.configure()
        self._time = 0

    def of(self, *lumas_HW: npt.NDArray[np.uint8]) -> dict[str, float]:
        """What the filter tells of two pictures, by its names."""
        for one, luma_HW in zip(self._inputs, lumas_HW, strict=True):
            frame = VideoFrame.from_ndarray(luma_HW, format="gray")
            frame.pts, frame.time_base = self._time, Fraction(1, 1000)
            one.push(frame)
        self._time += 1
        told: Any = self._output.pull()
        return {name: float(value) for name, value in told.metadata.items()}


def table(rows: list[Row]) -> Table:
    names = ("format", "level", "MB", "PSNR dB", "SSIM", "VIF", "CPU s", "wall s")
    shown = Table(*names)
    for row in rows:
        figures = (f"{row.megabytes:.2f}", f"{row.psnr_db:.1f}", f"{row.ssim:.4f}")
        seconds = (f"{row.cpu_s:.1f}", f"{row.wall_s:.1f}")
        shown.add_row(row.output_type, row.quality, *figures, f"{row.vif:.3f}", *seconds)
    return shown


def save(rows: list[Row], where: str) -> None:
    SAVED.parent.mkdir(exist_ok=True)
    SAVED.write_text(
        json.dumps({"scene": where, "rows": [rounded(row) for row in rows]}, indent=1) + "\n"
    )


def rounded(row: Row) -> dict[str, Any]:
    """As many digits as mean something."""
    facts = asdict(row)
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in facts.items()
    }


if __name__ == "__main__":
    main()

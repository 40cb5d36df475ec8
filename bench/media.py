"""Reading and writing video, beside the `ffmpeg` command doing the same: seconds and peak memory.

    python -m bench.media [--runs 3]

The source is the sample that ships, 1280x720 at 30 frames a second, repeated to 5 and 60 seconds.
Reading is fetching nothing: open, decode, 25 frames a second, resize to cover, cut to the centre,
raw RGB in memory. Writing is mp4 at level `high`, without sound. Every run is a process of its own;
ours and ffmpeg's take turns, and the fastest of each counts. Memory is that of the process which
reads or writes, without the frames that go in or come out. Some minutes of two cores.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.scene import scene
from rotoscope.media.clip import Clip, Size
from rotoscope.media.decode import decode
from rotoscope.media.encode import encode
from rotoscope.media.formats import FORMATS

SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"
FPS = Fraction(25)
LEVEL = "high"
MP4 = FORMATS["X264 (.mp4)"]


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured: so many seconds, read to or written at a size."""

    does: str
    seconds: int
    width: int
    height: int

    @property
    def frames(self) -> int:
        return int(self.seconds * FPS)

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)

    def __str__(self) -> str:
        return f"{self.does} {self.seconds} s at {self.width}x{self.height}"


WORKS = tuple(
    Work(does, seconds, *size)
    for does in ("read", "write")
    for seconds, size in ((5, (1216, 704)), (5, (608, 352)), (60, (608, 352)))
)


@dataclass(frozen=True, slots=True)
class Cost:
    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Reading and writing, beside ffmpeg.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", help="measure this alone, as JSON, and print it")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(measure(**json.loads(options.one)))))
        return
    console = Console(highlight=False, width=120)
    with tempfile.TemporaryDirectory() as folder:
        console.print(table(Path(folder), options.runs))
    console.print(scene(("av", "numpy"), ffmpeg=ffmpeg_version()), markup=False, soft_wrap=True)


def table(folder: Path, runs: int) -> Table:
    made = Table("", "ours, s", "ffmpeg, s", "of ffmpeg's", "ours, CPU s", "ffmpeg, CPU s",
                 "ours, MB", "ffmpeg, MB")  # fmt: skip
    tools = ("ours", "ffmpeg") if shutil.which("ffmpeg") else ("ours",)
    for work in WORKS:
        source = repeated(folder / f"{work.seconds}.mp4", work.seconds)
        costs: dict[str, list[Cost]] = {tool: [] for tool in tools}
        for _ in range(runs):
            for tool in tools:
                costs[tool].append(in_own_process(tool, work, source))
        best = {tool: fastest(costs[tool]) for tool in tools}
        made.add_row(str(work), *columns(best["ours"], best.get("ffmpeg")))
    return made


def fastest(costs: list[Cost]) -> Cost:
    return min(costs, key=lambda cost: cost.wall_s)


def columns(ours: Cost, other: Cost | None) -> Iterator[str]:
    yield f"{ours.wall_s:.2f}"
    yield f"{other.wall_s:.2f}" if other else ""
    yield f"{ours.wall_s / other.wall_s:.2f}" if other else ""
    yield f"{ours.cpu_s:.2f}"
    yield f"{other.cpu_s:.2f}" if other else ""
    yield f"{ours.peak_mb:.0f}"
    yield f"{other.peak_mb:.0f}" if other else ""


def repeated(path: Path, seconds: int) -> Path:
    """The sample's packets over and over, for at least so long."""
    if path.exists():
        return path
    with av.open(str(SAMPLE)) as source, av.open(str(path), "w") as out:
        film = source.streams.video[0]
        copy = out.add_stream_from_template(film)
        length = film.duration or 0
        for turn in range(int(seconds * Fraction(1) / (length * film.time_base)) + 1):
            source.seek(0)
            for packet in source.demux(film):
                if packet.dts is None or packet.pts is None:
                    continue
                packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                packet.stream = copy
                out.mux(packet)
    return path


def in_own_process(tool: str, work: Work, source: Path) -> Cost:
    order = json.dumps({"tool": tool, "work": asdict(work), "source": str(source)})
    command = [sys.executable, "-m", "bench.media", "--one", order]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return Cost(**json.loads(said))


def measure(tool: str, work: dict[str, Any], source: str) -> Cost:
    """In this process, which does nothing else."""
    one = Work(**work)
    if one.does == "read":
        with children_watched() as cost:
            read_ours(one, source) if tool == "ours" else read_ffmpeg(one, source)
        return cost()
    clip = Clip(read_ours(one, source), FPS)
    with tempfile.TemporaryDirectory() as folder:
        if tool == "ours":
            with self_watched() as cost:
                encode(clip, quality=LEVEL, into=Path(folder))
            return cost()
        return write_ffmpeg(clip, Path(folder) / "v.mp4")


def read_ours(work: Work, source: str) -> Any:
    return decode(Path(source), frames=work.frames, fps=FPS, size=work.size)


def read_ffmpeg(work: Work, source: str) -> None:
    wide = f"{work.width}:{work.height}"
    cover = f"scale={wide}:force_original_aspect_ratio=increase:flags=area,crop={wide}"
    frames_THWC = np.empty((work.frames, work.height, work.width, 3), np.uint8)
    with subprocess.Popen(
        ["ffmpeg", "-v", "error", "-nostdin", "-i", source, "-vf", f"fps={FPS},{cover}",
         "-frames:v", str(work.frames), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        stdout=subprocess.PIPE,
    ) as running:  # fmt: skip
        rest = frames_THWC.reshape(-1).data
        while running.stdout and (got := running.stdout.readinto(rest)):  # type: ignore[attr-defined]
            rest = rest[got:]
    assert len(rest) == 0, "ffmpeg gave fewer frames"


def write_ffmpeg(clip: Clip, path: Path) -> Cost:
    """Its memory by its own process, and the time of feeding it is its own."""
    options = {**MP4.options, **MP4.levels[LEVEL], **MP4.muxing}
    words = [word for name, value in options.items() for word in (f"-{name}", value)]
    size = f"{clip.size.width}x{clip.size.height}"
    began = time.perf_counter()
    running = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FPS),
         "-i", "-", "-vf", "scale=out_color_matrix=bt709:out_range=tv", "-pix_fmt", MP4.pix_fmt,
         "-c:v", MP4.codec, *words, str(path)],
        stdin=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdin
    running.stdin.write(clip.frames_THWC.data)
    running.stdin.close()
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = status
    assert status == 0, "ffmpeg failed"
    cpu_s = used.ru_utime + used.ru_stime
    return Cost(time.perf_counter() - began, cpu_s, used.ru_maxrss / 1000)


@contextmanager
def children_watched() -> Iterator[Any]:
    """The costs of the block, with the peak of the children that it starts."""
    began, found = time.perf_counter(), []
    yield lambda: found[0]
    wall_s = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found.append(Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000))


@contextmanager
def self_watched() -> Iterator[Any]:
    """The costs of the block, with the memory that this process took beyond what it had."""
    Path("/proc/self/clear_refs").write_text("5")
    had, used, began = memory("VmRSS"), os.times(), time.perf_counter()
    found: list[Cost] = []
    yield lambda: found[0]
    wall_s, now = time.perf_counter() - began, os.times()
    cpu_s = now.user + now.system - used.user - used.system
    found.append(Cost(wall_s, cpu_s, (memory("VmHWM") - had) / 1000))


def memory(name: str) -> int:
    """Kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def ffmpeg_version() -> str:
    if not shutil.which("ffmpeg"):
        return "none"
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[2]


if __name__ == "__main__":
    main()

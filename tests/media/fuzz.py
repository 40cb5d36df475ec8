"""Damaged and forged files against the child that reads videos.

    python -m tests.media.fuzz --count 10000

Takes files of the corpus, changes each in ways drawn by its number, and probes and decodes it as a
job does. A child may refuse, or be ended by its limits, or crash: that is what it is for. What may
not happen is any other error than a job's, a child past its time or memory, or an answer of another
size than was asked for. Each of those ends the run with the number, which makes the same file again
(`--first NUMBER --count 1 --keep FILE`).
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from rotoscope.errors import JobError
from rotoscope.media import sandbox
from rotoscope.media.clip import Size
from rotoscope.media.confine import MEMORY_BYTES
from rotoscope.media.decode import decode, probe
from tests.media.corpus import CASES
from tests.media.forks import Fork, Forks, forks

SIZE, FRAMES = Size(96, 64), 20
DEADLINE_S = 60.0
SLACK_S = 30.0
"""A child that is ended may have to wait for a busy machine."""
SAMPLED = 4
"""One in so many of the corpus's files, so that every kind is among them in little time."""
# Numbers that break arithmetic: nothing, one, the largest of each width, and just beyond.
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Change = Callable[[bytearray, np.random.Generator], None]


def flip(data: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(0, len(data), 1 + int(rng.integers(20))):
        data[at] ^= 1 << int(rng.integers(8))


def overwrite_header(data: bytearray, rng: np.random.Generator) -> None:
    """Bytes near an end, where containers keep their headers."""
    reach = min(len(data), 1500)
    for _ in range(1 + int(rng.integers(8))):
        at = int(rng.integers(reach)) - (reach if rng.random() < 0.5 else 0)
        data[at] = int(rng.integers(256))


def set_number(data: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice([1, 2, 4, 8]))
    value = int(rng.choice(NUMBERS)) & (1 << 8 * width) - 1
    at = int(rng.integers(max(1, len(data) - width)))
    data[at : at + width] = value.to_bytes(width, "big" if rng.random() < 0.5 else "little")


def cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(1, len(data))) :]


def remove(data: bytearray, rng: np.random.Generator) -> None:
    start, end = piece(data, rng)
    del data[start:end]


def repeat(data: bytearray, rng: np.random.Generator) -> None:
    start, end = piece(data, rng)
    data[start:start] = data[start:end] * int(rng.integers(1, 4))


def blank(data: bytearray, rng: np.random.Generator) -> None:
    start, end = piece(data, rng)
    data[start:end] = bytes([int(rng.choice([0, 0xFF]))]) * (end - start)


def piece(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(len(data)))
    return start, min(len(data), start + int(rng.integers(1, 200)))


CHANGES: tuple[Change, ...] = (flip, overwrite_header, set_number, cut, remove, repeat, blank)


def forged(number: int, originals: Sequence[bytes]) -> bytes:
    """The file of that number: one original with one change, or two."""
    rng = np.random.default_rng(number)
    data = bytearray(originals[int(rng.integers(len(originals)))])
    for _ in range(int(rng.integers(1, 3))):
        if data:
            CHANGES[int(rng.integers(len(CHANGES)))](data, rng)
    return bytes(data)


def make_originals(folder: Path) -> list[bytes]:
    """Every so-manieth file of the corpus."""
    originals = []
    for case in CASES[::SAMPLED]:
        path = folder / f"original{case.suffix}"
        case.make(path)
        if case.shown != tuple(range(300)):
            originals.append(path.read_bytes())
    return originals


@dataclass(frozen=True, slots=True)
class Outcome:
    number: int
    said: str
    """`read`, a job error's code, or what ended the child."""
    seconds: float
    peak_bytes: int


class BrokenPromiseError(Exception):
    """A forged file did what none may."""


def look(number: int, path: Path, children: Forks) -> Outcome:
    """Probe and decode it as a job does.

    Raises:
        BrokenPromiseError: The child was past its time or memory, or answered what was not asked.
    """
    started: list[Fork] = []

    def start(*given: object) -> Fork:
        started.append(children.start(*given))  # type: ignore[arg-type]
        return started[-1]

    sandbox._start = start  # type: ignore[assignment]
    began = time.monotonic()
    said = read(path)
    seconds = time.monotonic() - began
    if any(child.returncode and child.returncode < 0 for child in started):
        said = f"{said}, child ended by signal {-(started[-1].returncode or 0)}"
    peak_bytes = max((child.peak_bytes for child in started), default=0)
    if seconds > 2 * DEADLINE_S + SLACK_S or peak_bytes > MEMORY_BYTES:
        raise BrokenPromiseError(f"{number}: {seconds:.0f} s, {peak_bytes >> 20} MiB")
    return Outcome(number, said, seconds, peak_bytes)


def read(path: Path) -> str:
    try:
        info = probe(path)
        frames = decode(path, frames=FRAMES, fps=info.fps or Fraction(25), size=SIZE)
    except JobError as error:
        return error.code
    if not 0 < len(frames) <= FRAMES or frames.shape[1:] != (SIZE.height, SIZE.width, 3):
        raise BrokenPromiseError(f"{len(frames)} frames of {frames.shape}")
    return "read"


def fuzz(count: int, first: int = 0, *, keep: Path | None = None) -> list[Outcome]:
    """The outcomes of `count` forged files, numbered from `first`."""
    usual = sandbox._start, dict(sandbox.DEADLINES_S)
    sandbox.DEADLINES_S.update(dict.fromkeys(sandbox.DEADLINES_S, DEADLINE_S))
    try:
        with tempfile.TemporaryDirectory() as folder, forks() as children:
            originals = make_originals(Path(folder))
            path = keep or Path(folder) / "forged"
            outcomes = []
            for number in range(first, first + count):
                path.write_bytes(forged(number, originals))
                outcomes.append(look(number, path, children))
            return outcomes
    finally:
        sandbox._start, deadlines = usual
        sandbox.DEADLINES_S.update(deadlines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="leave the last file here")
    options = parser.parse_args()
    began = time.monotonic()
    outcomes = fuzz(options.count, options.first, keep=options.keep)
    print("\n".join(report(outcomes)))  # noqa: T201 - what it is run for
    print(f"{len(outcomes)} files in {time.monotonic() - began:.0f} s")  # noqa: T201


def report(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for said, times in Counter(outcome.said for outcome in outcomes).most_common():
        yield f"{times:6}  {said}"
    slowest = max(outcomes, key=lambda one: one.seconds)
    yield f"slowest: number {slowest.number}, {slowest.seconds:.1f} s"
    largest = max(outcomes, key=lambda one: one.peak_bytes)
    yield f"largest: number {largest.number}, {largest.peak_bytes >> 20} MiB"


if __name__ == "__main__":
    main()

"""Every file of the corpus is read as its table says, or refused as it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rotoscope.media import sandbox
from rotoscope.media.clip import Size
from rotoscope.media.decode import decode, probe
from tests.media.corpus import CASES, Case, worst_error
from tests.media.forks import Forks, forks

READ = [case for case in CASES if case.refused is None]
REFUSED = [case for case in CASES if case.refused is not None]
MORE = 5
"""Frames asked for beyond those there are."""


@pytest.fixture(scope="module")
def children() -> Iterator[Forks]:
    with forks() as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick_start(children: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_start", children.start)


def made(case: Case, folder: Path) -> Path:
    path = folder / f"source{case.suffix}"
    case.make(path)
    return path


def name(case: Case) -> str:
    return f"{case.group}: {case.name}"


@pytest.mark.parametrize("case", READ, ids=name)
def test_what_can_be_read_is_read_right(case: Case, tmp_path: Path) -> None:
    """Size, rate, length, and every frame by its number, the side it stands on and its colours."""
    path = made(case, tmp_path)
    at = case.read_at or case.fps
    size = Size(*case.size)

    info = probe(path)
    frames = decode(path, frames=len(case.shown) + MORE, fps=at, size=size)

    length_s = case.duration_s or len(case.shown) / float(at)
    assert (info.size, info.fps) == (size, case.fps)
    assert info.duration_s == pytest.approx(length_s, abs=0.002)
    assert len(frames) == len(case.shown)
    errors = [
        worst_error(frame, index, case.turn)
        for frame, index in zip(frames, case.shown, strict=True)
    ]
    assert max(errors) <= case.tolerance


@pytest.mark.parametrize("case", REFUSED, ids=name)
def test_what_cannot_be_read_is_refused(case: Case, tmp_path: Path) -> None:
    """By its error, with a sentence that says why and names the field."""
    path = made(case, tmp_path)

    assert case.refused is not None
    with pytest.raises(case.refused, match=case.reason) as caught:
        probe(path)
    assert caught.value.field == "video_url"

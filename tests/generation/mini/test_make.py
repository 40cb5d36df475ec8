"""The checkpoint is made once, whole, and the same each time."""

import hashlib
from pathlib import Path

import pytest
import torch

from rotoscope.generation import models
from rotoscope.generation.mini.make import leave_holes, make_mini
from rotoscope.generation.models import open_models
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.weights import PARTS, missing_files
from rotoscope.settings import Settings


def contents(folder: Path) -> dict[str, str]:
    """A hash of each file below `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_mini_is_the_same_wherever_it_is_made(pipeline: Pipeline, tmp_path: Path) -> None:
    """Made twice, all its files are equal byte for byte, whatever chance did in between."""
    torch.rand(1)

    again = contents(make_mini(tmp_path / "mini"))

    assert again == contents(pipeline.models.folder)
    assert {Path(name).parts[0] for name in again} == {*PARTS}
    assert missing_files(pipeline.checkpoint, tmp_path / "mini") == []


def test_mini_is_made_once(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first to open it makes it; the next ones only read it."""
    made: list[Path] = []

    def place(folder: Path) -> Path:
        made.append(folder)
        folder.parent.mkdir(parents=True)
        folder.symlink_to(pipeline.models.folder)
        return folder

    monkeypatch.setattr(models, "make_mini", place)
    settings = Settings(data_dir=tmp_path, device="cpu")

    opened = [open_models(settings) for _ in range(2)]

    assert made == [opened[0].folder] == [opened[1].folder]


def test_mini_made_by_another_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers that start together make it twice and keep one."""
    folder = tmp_path / "mini"

    def slowly(_: Path, draft: Path) -> None:
        draft.mkdir()
        (draft / "mine").touch()
        folder.mkdir()
        (folder / "theirs").touch()

    monkeypatch.setattr("rotoscope.generation.mini.make.expand", slowly)

    assert make_mini(folder) == folder
    assert [path.name for path in tmp_path.rglob("*")] == ["mini", "theirs"]


def test_mini_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up half-way leaves no half checkpoint behind."""

    def fail(_: Path, draft: Path) -> None:
        draft.mkdir()
        (draft / "part").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rotoscope.generation.mini.make.expand", fail)
    with pytest.raises(OSError, match="No space"):
        make_mini(tmp_path / "mini")

    assert list(tmp_path.iterdir()) == []


def test_zeros_take_no_space(tmp_path: Path) -> None:
    """A file with holes reads as before; its end, zeros too, is kept."""
    written = b"start" + bytes(1_000_000) + b"end" + bytes(1_000_000)
    file = tmp_path / "a.safetensors"
    file.write_bytes(written)

    leave_holes(file)

    assert file.read_bytes() == written
    assert file.stat().st_blocks * 512 < len(written) / 4
    assert list(tmp_path.iterdir()) == [file]

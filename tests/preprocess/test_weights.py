"""The registry of models: what ships is what it says, and downloads end up where jobs look."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from rotoscope.errors import OperatorError
from rotoscope.preprocess import hub
from rotoscope.preprocess.hub import fetch_weights
from rotoscope.preprocess.weights import SHIPPED, WEIGHTS, choose, facts_of, state_of
from rotoscope.settings import Settings

SMALL = WEIGHTS["depth-anything-v2-small"]


class Asked(NamedTuple):
    repo: str
    name: str


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.mark.parametrize("name", [row.name for row in WEIGHTS.values() if row.repo is None])
def test_what_ships_is_what_the_table_says(name: str) -> None:
    """By size and hash."""
    content = (SHIPPED / WEIGHTS[name].file).read_bytes()
    assert len(content) == WEIGHTS[name].size
    assert hashlib.sha256(content).hexdigest() == WEIGHTS[name].sha256


def test_the_origin_of_what_ships_is_told() -> None:
    """Each file that is here is in the README beside it."""
    readme = (SHIPPED / "README.md").read_text()
    files = {file.name for file in SHIPPED.iterdir()} - {"README.md"}
    assert files == {row.file for row in WEIGHTS.values() if row.repo is None}
    assert all(f"`{name}`" in readme for name in files)


def test_a_download_is_complete_and_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights come last; afterwards it is the one that jobs use, and is not fetched again."""
    asked: list[Asked] = []

    def download(repo: str, name: str, *, local_dir: Path, endpoint: str | None) -> None:
        asked.append(Asked(repo, name))
        local_dir.mkdir(parents=True, exist_ok=True)
        (local_dir / name).write_bytes(name.encode())

    monkeypatch.setattr(hub, "hf_hub_download", download)
    told: list[str] = []
    before = state_of(SMALL, settings)
    folder = fetch_weights(SMALL, settings, told.append)

    assert asked == [Asked(SMALL.repo or "", name) for name in ("config.json", "model.safetensors")]
    assert told == [f"{SMALL.repo} (99 MB) to {folder}"]
    assert choose("depth", settings) is SMALL
    assert facts_of(SMALL, settings).sha256 == hashlib.sha256(b"model.safetensors").hexdigest()
    assert before[0] == "missing"
    assert "rotoscope models fetch depth-anything-v2-small" in before[1]
    assert state_of(SMALL, settings) == ("ready", f"complete in {folder}")
    assert fetch_weights(SMALL, settings, told.append) == folder
    assert len(asked) == 2


@pytest.mark.parametrize("error", [httpx2.ConnectError("away"), TimeoutError()])
def test_a_hub_out_of_reach_is_told(
    error: Exception, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to copy where, for a machine without a network; depth still works."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    with pytest.raises(
        OperatorError, match=r"copy model\.safetensors, config\.json of it into .*v2-small"
    ):
        fetch_weights(SMALL, settings, print)
    assert choose("depth", settings).name == "fastdepth"


def test_what_ships_is_not_downloaded(settings: Settings) -> None:
    """Asked for by name, the command says so."""
    with pytest.raises(OperatorError, match="comes with Rotoscope"):
        fetch_weights(WEIGHTS["fastdepth"], settings, print)
    assert state_of(WEIGHTS["fastdepth"], settings) == ("ready", "comes with Rotoscope")

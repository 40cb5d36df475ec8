"""Checkpoints by name: what is there, what is missing, and what is said before a download."""

import json
import re
import shutil
from pathlib import Path
from typing import Literal, NamedTuple

import httpx2
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from rotoscope.errors import OperatorError
from rotoscope.generation import hub, models, weights
from rotoscope.generation.hub import fetch_checkpoint
from rotoscope.generation.memory import MODES, Mode
from rotoscope.generation.models import open_models
from rotoscope.generation.weights import (
    CHECKPOINTS,
    GB,
    PARTS,
    folder_of,
    missing_files,
    state_of,
)
from rotoscope.settings import Settings

DEV = "ltx-2-19b-dev"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, checkpoint=DEV, device="cpu")


def lay_out(folder: Path) -> None:
    """The names of a complete 19B checkpoint, its weights sharded, its files empty."""
    for part, marker in PARTS.items():
        (folder / part).mkdir(parents=True)
        (folder / part / marker).touch()
        index = {"weight_map": {"a": "w-1-of-2.safetensors", "b": "w-2-of-2.safetensors"}}
        (folder / part / "w.safetensors.index.json").write_text(json.dumps(index))
        for shard in index["weight_map"].values():
            (folder / part / shard).touch()
    (folder / "ltx-2-19b-distilled-lora-384.safetensors").touch()


def test_mini_is_made_anew_when_what_it_is_made_of_changes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is named by a hash of the package's data; an older one is left alone."""
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "rotoscope")
    data = tmp_path / "rotoscope/mini/part.safetensors"
    data.parent.mkdir(parents=True)

    def folder_with(content: bytes) -> Path:
        data.write_bytes(content)
        weights._recipe.cache_clear()
        return folder_of("mini", settings)

    first, second, again = (folder_with(content) for content in (b"one", b"two", b"one"))

    assert first == again != second
    assert first.parent == tmp_path / "checkpoints"
    assert re.fullmatch(r"mini-[0-9a-f]{8}", first.name)
    assert folder_of(DEV, settings).name == DEV


def test_a_broken_mini_is_named_with_its_cure(settings: Settings) -> None:
    """It would be made anew, but what is there may be in use."""
    own = settings.model_copy(update={"checkpoint": "mini"})
    folder = folder_of("mini", own)
    folder.mkdir(parents=True)

    with pytest.raises(OperatorError, match=f"{folder} lacks .*; delete it"):
        open_models(own)
    assert state_of("mini", own)[0] == "incomplete"


def test_mini_is_float32_wherever_it_runs() -> None:
    """Its codec needs it; LTX-2 19B is bfloat16 on a card."""
    card, processor = torch.device("cuda"), torch.device("cpu")

    assert models.dtype_of(CHECKPOINTS["mini"], card) == torch.float32
    assert models.dtype_of(CHECKPOINTS[DEV], card) == torch.bfloat16
    assert models.dtype_of(CHECKPOINTS[DEV], processor) == torch.float32


def test_a_complete_folder_is_ready(settings: Settings) -> None:
    """Every part and every shard of it is there."""
    lay_out(folder_of(DEV, settings))

    assert state_of(DEV, settings)[0] == "ready"


@pytest.mark.parametrize(
    "lost",
    [
        "vae/config.json",
        "transformer/w-2-of-2.safetensors",
        "ltx-2-19b-distilled-lora-384.safetensors",
    ],
)
def test_a_lost_file_is_named(settings: Settings, lost: str) -> None:
    """So that a broken download is not found out by a crash."""
    folder = folder_of(DEV, settings)
    lay_out(folder)
    (folder / lost).unlink()

    state, sentence = state_of(DEV, settings)

    assert state == "incomplete"
    assert lost in sentence
    assert "rotoscope models fetch" in sentence


def test_a_missing_checkpoint_says_how_to_get_it(settings: Settings) -> None:
    """Opening it fails before anything is read, with the command to run."""
    with pytest.raises(OperatorError, match=f"models fetch {DEV}"):
        open_models(settings)


def test_an_unknown_checkpoint_lists_the_known(settings: Settings) -> None:
    """The names are those of the registry."""
    with pytest.raises(OperatorError, match="mini, ltx-2-19b-dev, ltx-2-19b-distilled"):
        open_models(settings.model_copy(update={"checkpoint": "ltx-3"}))


def test_too_little_memory_is_said_before_loading(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both figures."""
    lay_out(folder_of(DEV, settings))
    monkeypatch.setattr(models, "memory_of", lambda _: 24_000_000_000)

    with pytest.raises(OperatorError, match=r"needs 69\.0 GB .* 24\.0 GB free"):
        open_models(settings)


@pytest.mark.parametrize(
    ("card_gb", "host_gb", "asked", "outcome"),
    [
        (140, 32, "auto", "resident"),
        (69, 32, "resident", "resident"),
        (48, 128, "auto", "offloaded"),
        (24, 128, "auto", "offloaded"),
        (140, 128, "offloaded", "offloaded"),
        (140, 128, "fp8", "fp8"),
        (48, 128, "resident", r"69\.0 GB of memory and cuda has 48\.0 GB"),
        (16, 128, "auto", r"22\.0 GB of memory and cuda has 16\.0 GB"),
        (48, 64, "auto", r"69\.0 GB of memory and cpu has 64\.0 GB"),
        (140, 32, "fp8", r"69\.0 GB of memory and cpu has 32\.0 GB"),
    ],
)
def test_a_smaller_card_needs_a_larger_machine(
    monkeypatch: pytest.MonkeyPatch,
    card_gb: int,
    host_gb: int,
    asked: Literal["auto"] | Mode,
    outcome: str,
) -> None:
    """Weights that are not on the card wait in the machine; too little of either is told."""
    there = {"cuda": card_gb * GB, "cpu": host_gb * GB}
    monkeypatch.setattr(models, "memory_of", lambda device: there[device.type])
    card = torch.device("cuda")

    if outcome in MODES:
        assert models.opening_mode(CHECKPOINTS[DEV], card, asked) == outcome
    else:
        with pytest.raises(OperatorError, match=outcome):
            models.opening_mode(CHECKPOINTS[DEV], card, asked)


def test_a_card_that_is_not_there_is_said(settings: Settings) -> None:
    """Asking for CUDA on a machine without it is an error, not a slow CPU run."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    with pytest.raises(OperatorError, match="no CUDA card"):
        models.pick_device(settings.model_copy(update={"device": "cuda"}))


class Disk(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that could run the 19B model."""
    monkeypatch.setattr(models, "memory_of", lambda _: 10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 0, 10**12))


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hub's download, replaced by a list of what was asked for."""
    asked: list[str] = []

    def download(repo: str, **_: object) -> None:
        asked.append(repo)

    monkeypatch.setattr(hub, "snapshot_download", download)
    return asked


def answer(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def auth_check(_: object, repo: str) -> None:
        if error:
            raise error

    monkeypatch.setattr(hub.HfApi, "auth_check", auth_check)


RESPONSE = httpx2.Response(403, request=httpx2.Request("GET", "https://hub.test"))


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (GatedRepoError("gated", response=RESPONSE), "accept its licence"),
        (RepositoryNotFoundError("gone", response=RESPONSE), "does not exist or is private"),
        (httpx2.ConnectError("no route"), "cannot be reached"),
    ],
    ids=["gated", "absent", "offline"],
)
def test_no_access_is_said_before_any_download(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    downloads: list[str],
    error: Exception,
    says: str,
) -> None:
    """Each reason has its own sentence, and nothing is fetched."""
    answer(monkeypatch, error)

    with pytest.raises(OperatorError, match=says):
        fetch_checkpoint(DEV, settings, print)

    assert downloads == []


@pytest.mark.usefixtures("roomy")
def test_too_little_disk_is_said_before_any_download(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, downloads: list[str]
) -> None:
    """With what is needed and what there is."""
    answer(monkeypatch, None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**11, 0, 5 * 10**10))

    with pytest.raises(OperatorError, match=r"needs 77 GB more .* 50 GB free"):
        fetch_checkpoint(DEV, settings, print)

    assert downloads == []


@pytest.mark.usefixtures("roomy")
def test_too_little_memory_can_be_overruled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, downloads: list[str]
) -> None:
    """A machine that only downloads, for another one to run, needs no memory for it."""
    answer(monkeypatch, None)
    monkeypatch.setattr(models, "memory_of", lambda _: 10**9)

    with pytest.raises(OperatorError, match="of memory"):
        fetch_checkpoint(DEV, settings, print)
    assert downloads == []
    with pytest.raises(OperatorError, match="ended without"):
        fetch_checkpoint(DEV, settings, print, anyway=True)
    assert downloads == ["Lightricks/LTX-2"]


@pytest.mark.usefixtures("roomy")
def test_each_source_is_fetched_and_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distilled checkpoint comes from two repositories; what is complete is left alone."""
    answer(monkeypatch, None)
    name = "ltx-2-19b-distilled"
    asked: list[tuple[str, list[str]]] = []

    def download(repo: str, *, allow_patterns: list[str], local_dir: Path, **_: object) -> None:
        asked.append((repo, allow_patterns))
        if len(asked) == 1:
            lay_out(local_dir)

    monkeypatch.setattr(hub, "snapshot_download", download)
    told: list[str] = []

    folder = fetch_checkpoint(name, settings, told.append)

    assert missing_files(CHECKPOINTS[name], folder) == []
    assert [repo for repo, _ in asked] == ["rootonchair/LTX-2-19b-distilled", "Lightricks/LTX-2"]
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for _, p in asked for pattern in p)
    assert len(told) == 2
    fetch_checkpoint(name, settings, told.append)
    assert len(asked) == 2


def test_mini_is_not_downloaded(settings: Settings) -> None:
    """Asking for it says where it comes from."""
    with pytest.raises(OperatorError, match="made on first use"):
        fetch_checkpoint("mini", settings, print)

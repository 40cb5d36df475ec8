"""doctor: what this machine can do, and what is missing for it to do more."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal, get_args

import typer
from rich.console import Console
from rich.table import Table

from rotoscope.cli.configuration import CheckpointName, DataDir, read_settings
from rotoscope.errors import OperatorError, PreprocessorUnavailableError, RotoscopeError
from rotoscope.generation.weights import (
    CHECKPOINTS,
    GB,
    Checkpoint,
    find_checkpoint,
    state_of,
)
from rotoscope.keys import open_keys
from rotoscope.preprocess.weights import Kind, choose
from rotoscope.settings import Settings

ENCODERS = ("libx264", "aac")
DECODERS = ("h264", "hevc", "vp9", "av1", "prores")
WORKER_PACKAGES = (
    "torch", "diffusers", "transformers", "av", "PIL", "safetensors", "cv2", "ai_edge_litert",
)  # fmt: skip
STYLES = {"ok": "green", "note": "yellow", "missing": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `missing` means that the configured worker cannot run."""

    what: str
    state: Literal["ok", "note", "missing"]
    text: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes where the model's weights go: the GPU's if there is one."""

    bytes: int
    gpu: str | None


def doctor(data_dir: DataDir = None, checkpoint: CheckpointName = None) -> None:
    """Say what this machine can do and what is missing; exit 1 if the checkpoint cannot run."""
    settings = read_settings(data_dir=data_dir, checkpoint=checkpoint)
    findings = list(examine(settings))
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        style = STYLES[finding.state]
        table.add_row(finding.what, f"[{style}]{finding.state}[/]", finding.text)
    Console().print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    yield processor()
    yield from packages()
    memory = find_memory(settings)
    yield gpu(memory, settings)
    yield codecs()
    yield preprocessors(settings)
    yield data_folder(settings)
    yield client_keys(settings)
    find_checkpoint(settings.checkpoint)
    for name, known in CHECKPOINTS.items():
        yield checkpoint_finding(
            known, memory, state_of(name, settings), used=name == settings.checkpoint
        )


def processor() -> Finding:
    return Finding("processor", "ok", f"{len(os.sched_getaffinity(0))} cores")


def packages() -> Iterator[Finding]:
    absent = [name for name in WORKER_PACKAGES if find_spec(name) is None]
    if absent:
        yield Finding(
            "packages",
            "missing",
            f"{', '.join(absent)}: this machine can serve, not work; "
            "install with `pip install 'rotoscope[worker]'`",
        )


def find_memory(settings: Settings) -> Memory:
    """Of the GPU when the worker would use one, else the machine's."""
    if settings.device != "cpu" and find_spec("torch"):
        import torch  # noqa: PLC0415 - takes seconds, and may not be installed

        if torch.cuda.is_available():
            facts = torch.cuda.get_device_properties(0)
            return Memory(facts.total_memory, facts.name)
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Memory(pages * size, None)


def gpu(memory: Memory, settings: Settings) -> Finding:
    if memory.gpu:
        return Finding("GPU", "ok", f"{memory.gpu}, {memory.bytes / GB:.0f} GB")
    text = f"none that torch can use; the model runs on the CPU with {memory.bytes / GB:.0f} GB"
    return Finding("GPU", "missing" if settings.device == "cuda" else "note", text)


def codecs() -> Finding:
    if find_spec("av") is None:
        return Finding("codecs", "missing", "PyAV is not installed")
    from av.codec import Codec  # noqa: PLC0415 - may not be installed

    absent = [name for name in ENCODERS if not _opens(partial(Codec, name, "w"))]
    absent += [name for name in DECODERS if not _opens(partial(Codec, name, "r"))]
    if absent:
        return Finding("codecs", "missing", f"PyAV lacks {', '.join(absent)}; install its wheel")
    return Finding("codecs", "ok", f"writes H.264 and AAC; reads {', '.join(DECODERS)}")


def preprocessors(settings: Settings) -> Finding:
    try:
        used = [choose(kind, settings) for kind in get_args(Kind)]
    except PreprocessorUnavailableError as error:
        return Finding("preprocessors", "note", str(error))
    text = f"canny, {', '.join(f'{one.kind} by {one.name}' for one in used)}"
    limits = [f"; {one.name} {one.limit}" for one in used if one.limit]
    return Finding("preprocessors", "note" if limits else "ok", text + "".join(limits))


def data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(
            "data folder",
            "missing",
            f"{folder} cannot be written ({error.strerror}); set ROTOSCOPE_DATA_DIR",
        )
    return Finding("data folder", "ok", f"{folder}, {free / GB:.0f} GB free")


def client_keys(settings: Settings) -> Finding:
    try:
        with open_keys(settings) as store:
            has = store.has_client()
    except (OSError, RotoscopeError) as error:
        return Finding("keys", "note", f"cannot be read: {error}")
    if has:
        return Finding("keys", "ok", "a client can present one")
    return Finding("keys", "note", "no client has one; `rotoscope keys create NAME` makes one")


def checkpoint_finding(
    checkpoint: Checkpoint, memory: Memory, state: tuple[str, str], *, used: bool
) -> Finding:
    """Whether a checkpoint could run; only the configured one's lack is a fault."""
    word, sentence = state
    # On a card weights can wait in the machine's memory.
    needs = checkpoint.lean_bytes if memory.gpu else checkpoint.memory_bytes
    fits = needs <= memory.bytes
    made_on_use = word == "missing" and not checkpoint.sources
    here = word == "ready" or made_on_use
    if not fits:
        sentence = f"needs {needs / GB:.0f} GB of memory, here are {memory.bytes / GB:.0f} GB"
    what = f"{checkpoint.name}{' (used)' if used else ''}"
    if fits and here:
        return Finding(what, "ok", sentence)
    return Finding(what, "missing" if used else "note", sentence)


def _opens(make: Callable[[], object]) -> bool:
    try:
        make()
    except (ValueError, OSError, OperatorError):
        return False
    return True

"""Where `run` sends its job: a server that is there, or one that lasts as long as the command.

The temporary server listens on loopback with a key of its own and keeps its jobs in a folder that
goes with it; its worker opens the checkpoint of the settings.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rotoscope.cli.children import Environment, LocalServer
from rotoscope.cli.configuration import as_environment
from rotoscope.cli.request import is_local_file
from rotoscope.client import Client
from rotoscope.errors import OperatorError, RotoscopeError
from rotoscope.keys import KeyStore
from rotoscope.settings import Settings

LOG_LINES = 15


class UnforeseenError(RotoscopeError):
    """A job failed with internal_error: what the worker logged is worth showing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job runs, and whether it reads this machine's LoRA files where they lie."""

    client: Client
    own: bool


@contextmanager
def place_for(
    server: str | None, key: str | None, body: dict[str, Any], settings: Settings
) -> Iterator[Place]:
    """The server at this address, else a temporary one."""
    if server:
        with Client(server, key) as client:
            yield Place(client, own=False)
        return
    with _own_server(body, settings) as client:
        yield Place(client, own=True)


@contextmanager
def _own_server(body: dict[str, Any], settings: Settings) -> Iterator[Client]:
    """A server whose jobs last as long as this, and a worker with the settings' checkpoint."""
    with tempfile.TemporaryDirectory(prefix="rotoscope-run-") as name:
        with KeyStore(Path(name)) as store:
            token = store.create("run").token
        with (
            _processes(Path(name), body, settings) as server,
            Client(server.url, token, pause=_watching(server)) as client,
        ):
            yield client


@contextmanager
def _processes(folder: Path, body: dict[str, Any], settings: Settings) -> Iterator[LocalServer]:
    log = folder / "log"
    loras = [Path(lora["path"]) for lora in body["loras"] if is_local_file(lora["path"])]
    worker = own_worker(settings, loras)
    try:
        with (
            log.open("wb") as output,
            LocalServer({**worker, **own_address(folder)}, worker, output) as server,
        ):
            yield server
    except (OperatorError, UnforeseenError):
        _print_log(log)
        raise


def own_worker(settings: Settings, loras: list[Path]) -> Environment:
    """The given settings, and leave to read the LoRAs that this command names."""
    folders = {*settings.lora_folders, *(lora.resolve().parent for lora in loras)}
    listed = ",".join(str(folder) for folder in sorted(folders) if can_be_listed(folder))
    return as_environment(checkpoint=settings.checkpoint, lora_folders=listed)


def own_address(folder: Path) -> Environment:
    return as_environment(
        data_dir=folder,
        database_url="",
        host="127.0.0.1",
        port=0,
        anonymous=False,
        public_url="",
    )


def can_be_listed(folder: Path) -> bool:
    """Folders are listed with commas between them, so one with a comma cannot be."""
    return "," not in str(folder)


def _watching(server: LocalServer) -> Callable[[float], None]:
    """Between two questions, see to it that server and worker still run."""

    def pause(seconds: float) -> None:
        server.check()
        time.sleep(seconds)

    return pause


def _print_log(log: Path) -> None:
    """The end of what server and worker said, since the file goes with the folder."""
    err = Console(stderr=True, highlight=False)
    for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:]:
        err.print(line, style="dim", markup=False, soft_wrap=True)

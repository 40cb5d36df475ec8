"""serve, work and up: the processes of Rotoscope."""
# ruff: noqa: PLC0415 - each command loads its own process, so that serve never loads torch

import os
import signal
import sys
from queue import Empty, SimpleQueue
from threading import Thread
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from rotoscope import telemetry, traces
from rotoscope.cli.children import LocalServer
from rotoscope.cli.configuration import (
    Anonymous,
    CheckpointName,
    DataDir,
    Host,
    Port,
    as_environment,
    read_settings,
)
from rotoscope.cli.exits import Exit
from rotoscope.errors import OperatorError
from rotoscope.keys import open_keys
from rotoscope.settings import Settings

Tied = Annotated[bool, typer.Option("--tied", help="End when standard input ends.", hidden=True)]
STDIN, STDOUT, STDERR = 0, 1, 2
CHECK_S = 0.25


def serve(
    *,
    host: Host = None,
    port: Port = None,
    anonymous: Anonymous = None,
    data_dir: DataDir = None,
    tied: Tied = False,
) -> None:
    """Run the HTTP server alone; workers connect to it with a worker key."""
    from rotoscope.web.server import serve as run_server

    settings = read_settings(host=host, port=port, anonymous=anonymous, data_dir=data_dir)
    telemetry.configure(settings.log_format)
    if tied:
        Thread(target=_end_with_parent, name="tie", daemon=True).start()
    with traces.sending("rotoscope-server"):
        run_server(settings, worker_key=worker_key(settings), ready=_announce)


def work(
    *,
    server_url: Annotated[
        str | None, typer.Option("--server", help="The server to work for.", show_default=False)
    ] = None,
    checkpoint: CheckpointName = None,
    tied: Tied = False,
) -> None:
    """Run one worker: it takes jobs from a server and makes their videos."""
    settings = read_settings(server_url=server_url, checkpoint=checkpoint)
    telemetry.configure(settings.log_format)
    from rotoscope.worker.stop import Stop

    # Before the seconds that loading torch takes, so that an early word to end is heard.
    stop = Stop(settings.drain_s)
    stop.listen(tied=tied)
    if tied:
        # Nobody reads what a library may print; a full pipe would stop the worker.
        os.dup2(STDERR, STDOUT)
    from rotoscope.generation.ranks import open_pipeline
    from rotoscope.worker.loop import DeviceLostError
    from rotoscope.worker.loop import work as run_worker

    try:
        with traces.sending("rotoscope-worker"):
            run_worker(settings, open_pipeline, stop)
    except DeviceLostError as error:
        telemetry.logger().error("device_lost", reason=str(error))
        raise typer.Exit(Exit.DEVICE_LOST) from error
    except OperatorError:
        raise
    except Exception as error:
        telemetry.logger().exception("worker_died")
        raise typer.Exit(Exit.CRASHED) from error


def up(
    *,
    host: Host = None,
    port: Port = None,
    anonymous: Anonymous = None,
    data_dir: DataDir = None,
    checkpoint: CheckpointName = None,
) -> None:
    """Run a server and one worker on this machine until Ctrl-C."""
    options = {"host": host, "port": port, "anonymous": anonymous, "data_dir": data_dir}
    settings = read_settings(**options, checkpoint=checkpoint)
    telemetry.configure(settings.log_format)
    environment = as_environment(**options, checkpoint=checkpoint)
    words = _listen()
    with LocalServer(environment, environment) as server:
        _greet(settings, server.url)
        while not _heard(words):
            server.check()


def worker_key(settings: Settings) -> str | None:
    """A key that the server accepts from workers beside those in its key file."""
    return settings.worker_key.get_secret_value() if settings.worker_key else None


def _greet(settings: Settings, url: str) -> None:
    console = Console(highlight=False)
    console.print(f"Rotoscope listens on {url} with checkpoint {settings.checkpoint}", markup=False)
    with open_keys(settings) as store:
        if not settings.anonymous and not store.has_client():
            console.print("No client has a key yet: `rotoscope keys create NAME` makes one.")


def _announce(url: str) -> None:
    """Say where the server is; later output, such as a library's, goes to standard error."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    os.dup2(STDERR, STDOUT)


def _end_with_parent() -> None:
    while os.read(STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _listen() -> SimpleQueue[int]:
    """Signals as a queue: the first asks to end, a second ends at once."""
    words: SimpleQueue[int] = SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if not words.empty():
            os._exit(Exit.INTERRUPTED)
        words.put(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return words


def _heard(words: SimpleQueue[int]) -> bool:
    """Whether a signal has come within a moment; it stays in the queue for the next to see."""
    try:
        words.put(words.get(timeout=CHECK_S))
    except Empty:
        return False
    return True

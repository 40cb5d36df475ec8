"""run: one video through a server, from a local file or a URL to a saved result.

Without a server it starts its own, on loopback, with a job table that lasts as long as the command
and the checkpoint of the settings.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from rotoscope.cli.children import Environment, LocalServer
from rotoscope.cli.configuration import CheckpointName, as_environment, read_settings
from rotoscope.cli.display import adjustment, display_on
from rotoscope.cli.request import (
    FILE_FIELDS,
    check_body,
    is_local,
    is_local_file,
    make_body,
    with_input_options,
)
from rotoscope.client import ApiError, Client
from rotoscope.errors import InvalidInputError, OperatorError
from rotoscope.keys import KeyStore
from rotoscope.schema.output import Result
from rotoscope.settings import Settings

JOB_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130
LOG_LINES = 15

err = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job runs, and whether it reads this machine's LoRA files where they lie."""

    client: Client
    own: bool


@with_input_options
def run(  # noqa: PLR0913 - a command's arguments are its options
    video: Annotated[
        str, typer.Argument(metavar="VIDEO", help="The source: a file or an https URL.")
    ],
    *,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH[:SCALE]", help="A LoRA file or URL; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to save the result.", show_default=False)
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Also write frames of source and result, as a PNG.", show_default=False),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            envvar="ROTOSCOPE_SERVER",
            help="The server to use; without one, a temporary one is started.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="ROTOSCOPE_KEY", help="The key for --server.", show_default=False),
    ] = None,
    checkpoint: CheckpointName = None,
    input_json: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON", help="Input fields as JSON, or @FILE."),
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An input field; may be repeated."),
    ] = None,
    **fields: Any,
) -> None:
    """Restyle one video and save the result."""
    settings = read_settings(checkpoint=checkpoint)
    body = make_body(video, lora or [], input_json, pairs or [], fields)
    _check(body)
    target = out or default_name(video)
    with _interruptible(), _place(server, key, body, settings) as place:
        result = submit_and_wait(place, body)
        saved = [finish(place.client, result, target)]
    if sheet:
        saved.append(_sheet(video, target, sheet, settings))
    for path in saved:
        typer.echo(path)


def default_name(video: str) -> Path:
    """In the working folder, after the source's own name."""
    name = Path(video if is_local(video) else urlsplit(video).path).stem or "video"
    return Path(f"{name[:100]}-restyled.mp4")


def submit_and_wait(place: Place, body: dict[str, Any]) -> Result:
    """Send the job and watch it to its end; Ctrl-C withdraws it."""
    client = place.client
    try:
        submitted = client.submit(_upload_files(place, body))
    except ApiError as error:
        _refused(error)
    err.print(f"request {submitted.request_id}", markup=False)
    try:
        with display_on(err) as display:
            result = client.wait(submitted.request_id, display.show)
    except KeyboardInterrupt:
        _withdraw(place, submitted.request_id)
        raise
    for warning in result.warnings or []:
        err.print(adjustment(warning), style="yellow", markup=False)
    return result


def finish(client: Client, result: Result, target: Path) -> Path:
    """Save the video, or end with what went wrong."""
    if result.error:
        err.print(f"{result.error.code}: {result.error.message}", style="red", markup=False)
        raise typer.Exit(JOB_FAILED)
    client.download(result, target)
    if result.metrics:
        err.print(f"done in {result.metrics['total']:.1f} s", markup=False)
    return target


def _check(body: dict[str, Any]) -> None:
    for name in FILE_FIELDS:
        if is_local(body.get(name)) and not is_local_file(body[name]):
            err.print(f"{name}: there is no file {body[name]}", style="red", markup=False)
            raise typer.Exit(WRONG_USE)
    try:
        check_body(body)
    except InvalidInputError as error:
        _print_fields(error.detail)
        raise typer.Exit(WRONG_USE) from None


def _refused(error: ApiError) -> Any:
    err.print(str(error), style="red", markup=False)
    _print_fields([entry.model_dump() for entry in error.detail])
    raise typer.Exit(WRONG_USE if error.detail else JOB_FAILED) from None


def _print_fields(detail: Any) -> None:
    for entry in detail:
        field = ".".join(str(part) for part in entry["loc"][1:])
        err.print(f"{field}: {entry['msg']}", style="red", markup=False)


def _upload_files(place: Place, body: dict[str, Any]) -> dict[str, Any]:
    """Local files become uploads, but for LoRAs that the server reads where they lie."""
    files = {
        name: place.client.upload(Path(body[name])).url
        for name in FILE_FIELDS
        if is_local(body.get(name))
    }
    return body | files | {"loras": [_reachable_lora(place, lora) for lora in body["loras"]]}


def _reachable_lora(place: Place, lora: dict[str, Any]) -> dict[str, Any]:
    if not is_local_file(lora["path"]):
        return lora
    file = Path(lora["path"]).resolve()
    readable = place.own and can_be_listed(file.parent)
    return {**lora, "path": str(file) if readable else place.client.upload(file).url}


def _withdraw(place: Place, request_id: str) -> None:
    outcome = place.client.cancel(request_id).outcome
    if outcome == "cancelled":
        err.print("The job is cancelled.")
    elif not place.own:
        err.print(f"The job is running already and goes on as request {request_id}.")


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _place(
    server: str | None, key: str | None, body: dict[str, Any], settings: Settings
) -> Iterator[Place]:
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
    except (OperatorError, typer.Exit):
        _print_log(log)
        raise


def own_worker(settings: Settings, loras: list[Path]) -> Environment:
    """The given settings, and leave to read the LoRAs that this command names."""
    folders = {*settings.lora_folders, *(lora.resolve().parent for lora in loras)}
    listed = ",".join(str(folder) for folder in sorted(folders) if can_be_listed(folder))
    return as_environment(checkpoint=settings.checkpoint, lora_folders=listed)


def own_address(folder: Path) -> Environment:
    return as_environment(data_dir=folder, host="127.0.0.1", port=0, anonymous=False, public_url="")


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
    for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:]:
        err.print(line, style="dim", markup=False, soft_wrap=True)


def _sheet(video: str, result: Path, into: Path, settings: Settings) -> Path:
    # Here, so that a machine without the media libraries can still use a server elsewhere.
    from rotoscope.cli.sheet import write_sheet  # noqa: PLC0415

    return write_sheet(video, result, into, settings)

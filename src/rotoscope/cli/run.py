"""run: one video through a server, from a local file or a URL to a saved result.

What is wrong with the request is found before a server is started or called.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from rotoscope.cli.configuration import CheckpointName, read_settings
from rotoscope.cli.display import adjustment, display_on
from rotoscope.cli.place import Place, UnforeseenError, can_be_listed, place_for
from rotoscope.cli.request import (
    FILE_FIELDS,
    check_body,
    is_local,
    is_local_file,
    make_body,
    with_input_options,
)
from rotoscope.client import ApiError, Client
from rotoscope.errors import InternalError, InvalidInputError
from rotoscope.schema.output import Result
from rotoscope.settings import Settings

JOB_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

err = Console(stderr=True, highlight=False)


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
    with _interruptible(), place_for(server, key, body, settings) as place:
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
        err.print(adjustment(warning), style="yellow", markup=False, soft_wrap=True)
    return result


def finish(client: Client, result: Result, target: Path) -> Path:
    """Save the video, or end with what went wrong."""
    if result.error:
        sentence = f"{result.error.code}: {result.error.message}"
        if result.error.code == InternalError.code:
            raise UnforeseenError(sentence)
        _complain(sentence)
        raise typer.Exit(JOB_FAILED)
    client.download(result, target)
    if result.metrics:
        err.print(f"done in {result.metrics['total']:.1f} s", markup=False)
    return target


def _check(body: dict[str, Any]) -> None:
    for name in FILE_FIELDS:
        if is_local(body.get(name)) and not is_local_file(body[name]):
            _complain(f"{name}: there is no file {body[name]}")
            raise typer.Exit(WRONG_USE)
    try:
        check_body(body)
    except InvalidInputError as error:
        _print_fields(error.detail)
        raise typer.Exit(WRONG_USE) from None


def _refused(error: ApiError) -> Any:
    _complain(str(error))
    _print_fields([entry.model_dump() for entry in error.detail])
    raise typer.Exit(WRONG_USE if error.detail else JOB_FAILED) from None


def _print_fields(detail: Any) -> None:
    for entry in detail:
        field = ".".join(str(part) for part in entry["loc"][1:])
        _complain(f"{field}: {entry['msg']}")


def _complain(sentence: str) -> None:
    err.print(sentence, style="red", markup=False, soft_wrap=True)


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


def _sheet(video: str, result: Path, into: Path, settings: Settings) -> Path:
    # Here, so that a machine without the media libraries can still use a server elsewhere.
    from rotoscope.cli.sheet import write_sheet  # noqa: PLC0415

    return write_sheet(video, result, into, settings)

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

from rotoscope.cli.again import differences, objections, read_manifest, request_of
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
from rotoscope.schema.output import Manifest, Result
from rotoscope.settings import Settings

JOB_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

err = Console(stderr=True, highlight=False)


@with_input_options
def run(  # noqa: PLR0913 - a command's arguments are its options
    video: Annotated[
        str | None,
        typer.Argument(
            metavar="VIDEO", help="The source: a file or an https URL.", show_default=False
        ),
    ] = None,
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
    control: Annotated[
        Path | None,
        typer.Option(help="Also save the preprocessor's control video.", show_default=False),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Also write what the clip was made with, as JSON.", show_default=False),
    ] = None,
    from_manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Make the clip of this manifest or /result answer again; further options change "
            "it.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the /result answer instead of file names.")
    ] = False,
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
    made = read_manifest(from_manifest) if from_manifest else None
    settings = read_settings(checkpoint=checkpoint or (made.checkpoint if made else None))
    base = request_of(made, own=server is None) if made else {}
    body = make_body(video, lora or [], input_json, pairs or [], fields, base)
    if "video_url" not in body:
        raise typer.BadParameter("the file or the https URL is needed", param_hint="VIDEO")
    _check(body)
    if made:
        _check_again(body, made, own=server is None)
    target = out or default_name(body["video_url"])
    with _interruptible(), place_for(server, key, body, settings) as place:
        result = submit_and_wait(place, body)
        if as_json:
            typer.echo(result.model_dump_json(indent=2, exclude_unset=True))
        saved = [finish(place.client, result, target)]
        if control:
            saved += _save_control(place.client, result, control)
    if sheet:
        saved.append(_sheet(body["video_url"], target, sheet, settings))
    if result.manifest and manifest:
        saved.append(_save(result.manifest, manifest))
    if result.manifest and made:
        _compare(made, result.manifest)
    for path in saved:
        typer.echo(path, err=as_json)


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


def _save_control(client: Client, result: Result, target: Path) -> list[Path]:
    saved = client.download_control(result, target)
    if saved is None:
        err.print("There is no control video: no preprocessor ran.", style="yellow")
    return [saved] if saved else []


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


def _check_again(body: dict[str, Any], made: Manifest, *, own: bool) -> None:
    """End before anything is sent, if the clip of `made` cannot come of it."""
    if found := list(objections(body, made, own=own)):
        for sentence in found:
            _complain(sentence)
        raise typer.Exit(WRONG_USE)


def _compare(before: Manifest, after: Manifest) -> None:
    found = list(differences(before, after))
    for line in found:
        err.print(line, style="yellow", markup=False, soft_wrap=True)
    err.print(
        f"made with {len(found)} differences" if found else "made with the same as before",
        markup=False,
    )


def _save(manifest: Manifest, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(manifest.model_dump_json(indent=2) + "\n")
    return file


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

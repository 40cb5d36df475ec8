"""run: one video through a server, from a local file or a URL to a saved result.

What is wrong with the request is found before a server is started or called.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from rotoscope.cli.again import differences, objections, read_manifest, request_of
from rotoscope.cli.configuration import CheckpointName, read_settings
from rotoscope.cli.connection import Key, print_json
from rotoscope.cli.exits import Exit
from rotoscope.cli.place import Place, UnforeseenError, place_for
from rotoscope.cli.request import is_local, make_body, with_input_options
from rotoscope.cli.requests import end_without_video
from rotoscope.cli.say import complain, err, interruptible, note, tell_warnings
from rotoscope.cli.sending import InputJson, Loras, Pairs, Video, check, send
from rotoscope.client import Client
from rotoscope.client.display import display_on
from rotoscope.errors import InternalError
from rotoscope.schema.output import Manifest, Result
from rotoscope.settings import Settings


@with_input_options
def run(  # noqa: PLR0913 - a command's arguments are its options
    video: Video = None,
    *,
    lora: Loras = None,
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
    key: Key = None,
    checkpoint: CheckpointName = None,
    input_json: InputJson = None,
    pairs: Pairs = None,
    **fields: Any,
) -> None:
    """Restyle one video and save the result."""
    made = read_manifest(from_manifest) if from_manifest else None
    settings = read_settings(checkpoint=checkpoint or (made.checkpoint if made else None))
    base = request_of(made, own=server is None) if made else {}
    body = make_body(video, lora or [], input_json, pairs or [], fields, base)
    check(body)
    if made:
        _check_again(body, made, own=server is None)
    target = out or default_name(body["video_url"])
    with interruptible(), place_for(server, key, body, settings) as place:
        result = submit_and_wait(place, body)
        if as_json:
            print_json(result)
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
    submitted = send(place, body)
    note(f"request {submitted.request_id}")
    try:
        with display_on(err) as display:
            result = client.wait(submitted.request_id, display.show)
    except KeyboardInterrupt:
        _withdraw(place, submitted.request_id)
        raise
    tell_warnings(result.warnings)
    return result


def finish(client: Client, result: Result, target: Path) -> Path:
    """Save the video, or end with what went wrong."""
    if result.error and result.error.code == InternalError.code:
        raise UnforeseenError(f"{result.error.code}: {result.error.message}")
    end_without_video(result)
    client.download(result, target)
    if result.metrics:
        note(f"done in {result.metrics['total']:.1f} s")
    return target


def _save_control(client: Client, result: Result, target: Path) -> list[Path]:
    saved = client.download_control(result, target)
    if saved is None:
        err.print("There is no control video: no preprocessor ran.", style="yellow")
    return [saved] if saved else []


def _check_again(body: dict[str, Any], made: Manifest, *, own: bool) -> None:
    """End before anything is sent, if the clip of `made` cannot come of it."""
    if found := list(objections(body, made, own=own)):
        for sentence in found:
            complain(sentence)
        raise typer.Exit(Exit.WRONG_USE)


def _compare(before: Manifest, after: Manifest) -> None:
    found = list(differences(before, after))
    for line in found:
        err.print(line, style="yellow", markup=False, soft_wrap=True)
    note(f"made with {len(found)} differences" if found else "made with the same as before")


def _save(manifest: Manifest, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(manifest.model_dump_json(indent=2) + "\n")
    return file


def _withdraw(place: Place, request_id: str) -> None:
    outcome = place.client.cancel(request_id).outcome
    if outcome == "cancelled":
        note("The job is cancelled.")
    elif not place.own:
        note(f"The job is running already and goes on as request {request_id}.")


def _sheet(video: str, result: Path, into: Path, settings: Settings) -> Path:
    # Here, so that a machine without the media libraries can still use a server elsewhere.
    from rotoscope.cli.sheet import write_sheet  # noqa: PLC0415

    return write_sheet(video, result, into, settings)

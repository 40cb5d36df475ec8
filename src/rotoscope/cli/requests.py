"""submit, status, result and cancel: one request of a server, a call at a time."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rotoscope.cli.connection import LOCAL, AsJson, Key, RequestId, ServerUrl, connect, print_json
from rotoscope.cli.exits import Exit
from rotoscope.cli.place import Place
from rotoscope.cli.request import make_body, with_input_options
from rotoscope.cli.say import complain, err, interruptible, note, tell_warnings
from rotoscope.cli.sending import InputJson, Loras, Pairs, Video, check, send
from rotoscope.client import Client
from rotoscope.client.display import display_on, headline, in_short
from rotoscope.schema.output import Result, Status

LONG_PATIENCE_S = 300.0
"""`result --wait` is there to outlast a restart of the server."""


@with_input_options
def submit(  # noqa: PLR0913 - a command's arguments are its options
    video: Video = None,
    *,
    lora: Loras = None,
    as_json: AsJson = False,
    server: ServerUrl = LOCAL,
    key: Key = None,
    input_json: InputJson = None,
    pairs: Pairs = None,
    **fields: Any,
) -> None:
    """Queue one video on a server and print the request's id."""
    body = make_body(video, lora or [], input_json, pairs or [], fields)
    check(body)
    with interruptible(), connect(server, key) as client:
        submitted = send(Place(client, own=False), body)
    tell_warnings(submitted.warnings)
    if as_json:
        print_json(submitted)
    else:
        typer.echo(submitted.request_id)


def status(
    request_id: RequestId,
    *,
    as_json: AsJson = False,
    server: ServerUrl = LOCAL,
    key: Key = None,
) -> None:
    """Say where a request is: its place in the queue, its progress, whether it ended."""
    with interruptible(), connect(server, key) as client:
        answer = client.status(request_id)
    if as_json:
        print_json(answer)
        return
    typer.echo(in_words(answer))
    tell_warnings(answer.warnings)


def result(  # noqa: PLR0913 - a command's arguments are its options
    request_id: RequestId,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Save the video here, and print this name.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    server: ServerUrl = LOCAL,
    key: Key = None,
) -> None:
    """Print the URL of a request's video, or why there is none."""
    patience = {"patience_s": LONG_PATIENCE_S} if wait else {}
    with interruptible(), connect(server, key, **patience) as client:
        answer = _waited(client, request_id) if wait else client.result(request_id)
        if as_json:
            print_json(answer)
        tell_warnings(answer.warnings)
        end_without_video(answer)
        if out:
            typer.echo(client.download(answer, out), err=as_json)
        elif not as_json:
            typer.echo(answer.output.video if answer.output else "")


def cancel(
    request_id: RequestId,
    *,
    running: Annotated[
        bool, typer.Option("--running", help="Stop it at its next step if it runs already.")
    ] = False,
    as_json: AsJson = False,
    server: ServerUrl = LOCAL,
    key: Key = None,
) -> None:
    """Withdraw a queued request; with --running, a running one too."""
    with interruptible(), connect(server, key) as client:
        answer = client.cancel(request_id, running=running)
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer.outcome)
    if answer.outcome != "not_cancellable":
        return
    runs = answer.status == "in_progress"
    complain("It runs already; --running stops it." if runs else "It has ended already.")
    raise typer.Exit(Exit.NOT_NOW)


def in_words(answer: Status) -> str:
    """A line such as `in_progress: denoise 34%, step 3/8, 0:12 left`."""
    if answer.error:
        return f"failed: {answer.error.code}: {answer.error.message}"
    if answer.status in ("completed", "cancelled"):
        return answer.status
    if answer.progress is None:
        place = answer.queue_position
        return f"in_queue: position {place}" if place else f"{answer.status}: {headline(answer)}"
    return f"{answer.status}: {in_short(answer.progress)}"


def end_without_video(answer: Result) -> None:
    """End the command, with a sentence and the right code, unless the request has a video."""
    if answer.error:
        complain(f"{answer.error.code}: {answer.error.message}")
    if answer.status == "cancelled":
        complain(f"Request {answer.request_id} was cancelled.")
        raise typer.Exit(Exit.CANCELLED)
    if answer.status in ("in_queue", "in_progress"):
        complain(f"Request {answer.request_id} has not ended: it is {answer.status}.")
        raise typer.Exit(Exit.NOT_NOW)
    if answer.status != "succeeded":
        raise typer.Exit(Exit.FAILED)


def _waited(client: Client, request_id: str) -> Result:
    try:
        with display_on(err) as display:
            return client.wait(request_id, display.show)
    except KeyboardInterrupt:
        note(f"The request goes on: rotoscope result {request_id} --wait")
        raise

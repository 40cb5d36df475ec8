"""A request from options to the server: checked here, its local files uploaded, then queued."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rotoscope.cli.exits import Exit
from rotoscope.cli.place import Place, can_be_listed
from rotoscope.cli.request import FILE_FIELDS, check_body, is_local, is_local_file
from rotoscope.cli.say import complain, complain_of_fields
from rotoscope.errors import InvalidInputError
from rotoscope.schema.output import Submitted

Video = Annotated[
    str | None,
    typer.Argument(metavar="VIDEO", help="The source: a file or an https URL.", show_default=False),
]
Loras = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="PATH[:SCALE]", help="A LoRA file or URL; may be repeated."),
]
InputJson = Annotated[
    str | None, typer.Option("--input", metavar="JSON", help="Input fields as JSON, or @FILE.")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An input field; may be repeated."),
]


def check(body: Mapping[str, Any]) -> None:
    """End with every mistake that can be found without a server."""
    if "video_url" not in body:
        raise typer.BadParameter("the file or the https URL is needed", param_hint="VIDEO")
    for name in FILE_FIELDS:
        if is_local(body.get(name)) and not is_local_file(body[name]):
            complain(f"{name}: there is no file {body[name]}")
            raise typer.Exit(Exit.WRONG_USE)
    try:
        check_body(body)
    except InvalidInputError as error:
        complain_of_fields(error.detail)
        raise typer.Exit(Exit.WRONG_USE) from None


def send(place: Place, body: dict[str, Any]) -> Submitted:
    """Queue the request; local files become uploads, but for LoRAs that are read where they lie.

    Raises:
        ApiError: The server refuses.
    """
    files = {
        name: place.client.upload(Path(body[name])).url
        for name in FILE_FIELDS
        if is_local(body.get(name))
    }
    loras = [_reachable_lora(place, lora) for lora in body["loras"]]
    return place.client.submit(body | files | {"loras": loras})


def _reachable_lora(place: Place, lora: dict[str, Any]) -> dict[str, Any]:
    if not is_local_file(lora["path"]):
        return lora
    file = Path(lora["path"]).resolve()
    readable = place.own and can_be_listed(file.parent)
    return {**lora, "path": str(file) if readable else place.client.upload(file).url}

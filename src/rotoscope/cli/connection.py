"""What commands share that ask a server: where it is, the key, which request, and JSON."""

from typing import Annotated

import typer
from pydantic import BaseModel

from rotoscope.client import Client

LOCAL = "http://127.0.0.1:8000"
PATIENCE_S = 20.0
"""How long a question is repeated while the server does not answer."""

ServerUrl = Annotated[str, typer.Option("--server", envvar="ROTOSCOPE_SERVER", help="The server.")]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="ROTOSCOPE_KEY", help="The key for --server.", show_default=False),
]
RequestId = Annotated[
    str, typer.Argument(metavar="REQUEST_ID", help="As `submit` answered it.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]


def connect(server: str, key: str | None, *, patience_s: float = PATIENCE_S) -> Client:
    return Client(server, key, patience_s=patience_s)


def print_json(answer: BaseModel, *, indent: int | None = 2) -> None:
    """What the server said, and nothing that it did not say."""
    typer.echo(answer.model_dump_json(indent=indent, exclude_unset=True))

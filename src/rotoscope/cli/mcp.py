"""mcp: the Model API as tools of the Model Context Protocol, for assistants."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rotoscope import telemetry
from rotoscope.client import Client
from rotoscope.errors import OperatorError

LOCAL = "http://127.0.0.1:8000"


def mcp(
    *,
    server: Annotated[
        str, typer.Option(envvar="ROTOSCOPE_SERVER", help="The server whose jobs these are.")
    ] = LOCAL,
    key: Annotated[
        str | None,
        typer.Option(envvar="ROTOSCOPE_KEY", help="The key for --server.", show_default=False),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="A folder whose files may be read and sent to the server; may be repeated. "
            "Without it, only URLs can be given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Offer submit, status, result, cancel, plan and models as MCP tools; needs the extra mcp."""
    telemetry.configure()
    try:
        # An extra, which only this command needs.
        from rotoscope.cli.mcp_tools import PATIENCE_S, Files, serve_stdio  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "mcp_types"):
            raise
        raise OperatorError("This needs the extra: pip install rotoscope[mcp].") from None
    connect = partial(Client, server, key, patience_s=PATIENCE_S)
    asyncio.run(serve_stdio(connect, Files(tuple(files or ()))))

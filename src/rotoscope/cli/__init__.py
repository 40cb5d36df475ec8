"""The command line: `rotoscope COMMAND`; the only place that wires the parts together.

Each command imports its process when it runs, so that `serve` and `keys` never load torch.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from rotoscope.cli.backup import backup, restore
from rotoscope.cli.compare import compare
from rotoscope.cli.doctor import doctor
from rotoscope.cli.exits import Exit
from rotoscope.cli.keys import keys
from rotoscope.cli.listing import list_requests
from rotoscope.cli.loras import loras
from rotoscope.cli.mcp import mcp
from rotoscope.cli.migrate import migrate
from rotoscope.cli.models import models
from rotoscope.cli.processes import serve, up, work
from rotoscope.cli.queue import queue
from rotoscope.cli.requests import cancel, result, status, submit
from rotoscope.cli.run import run
from rotoscope.cli.say import complain, refused
from rotoscope.cli.watch import watch
from rotoscope.cli.webhooks import webhooks
from rotoscope.client import ApiError
from rotoscope.errors import RotoscopeError


class Commands(TyperGroup):
    """What was raised on purpose ends a command with its sentence, not with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ApiError as error:
            raise refused(error) from None
        except RotoscopeError as error:
            complain(str(error))
            raise typer.Exit(Exit.FAILED) from None


app = typer.Typer(
    name="rotoscope",
    cls=Commands,
    help="Restyle videos with LTX-2 and LoRAs on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (up, serve, work, run, submit, status, result, cancel):
    app.command()(command)
app.command("list")(list_requests)
for command in (watch, compare, doctor, migrate, backup, restore, mcp):
    app.command()(command)
app.add_typer(keys, name="keys")
app.add_typer(models, name="models")
app.add_typer(loras, name="loras")
app.add_typer(queue, name="queue")
app.add_typer(webhooks, name="webhooks")

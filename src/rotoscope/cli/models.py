"""models: the checkpoints that a worker can open, and getting their files."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rotoscope.cli.configuration import DataDir, read_settings
from rotoscope.generation.weights import CHECKPOINTS, state_of

models = typer.Typer(help="List checkpoints and fetch their files.", invoke_without_command=True)

GB = 1_000_000_000


@models.callback()
def models_or_list(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models(data_dir: DataDir = None) -> None:
    """List the checkpoints and whether their files are here."""
    settings = read_settings(data_dir=data_dir)
    table = Table("name", "here", "memory", "licence", "what it is", box=None, pad_edge=False)
    for name, checkpoint in CHECKPOINTS.items():
        state, sentence = state_of(name, settings)
        table.add_row(
            f"{name} *" if name == settings.checkpoint else name,
            f"{state}: {sentence}",
            f"{checkpoint.memory_bytes / GB:.1f} GB",
            checkpoint.licence,
            checkpoint.description,
        )
    Console().print(table)
    Console().print("* the one that workers open; the setting `checkpoint` names it")


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A checkpoint's name.")], data_dir: DataDir = None
) -> None:
    """Download a checkpoint's files; a download that stopped goes on where it was."""
    # Here, since it loads torch to know whether the checkpoint would fit.
    from rotoscope.generation.hub import fetch_checkpoint  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    settings = read_settings(data_dir=data_dir)
    folder = fetch_checkpoint(name, settings, lambda line: console.print(line, markup=False))
    typer.echo(folder)

"""loras: the downloaded LoRAs of this machine's workers. They may be changed while those run."""

from dataclasses import asdict
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from rotoscope.cli.configuration import DataDir, read_settings
from rotoscope.errors import OperatorError
from rotoscope.schema.hub import HubReference
from rotoscope.worker.lora_cache import Entry, LoraCache

loras = typer.Typer(help="List, fetch, pin and delete downloaded LoRAs.", no_args_is_help=True)

SHOWN = 12
FIELD = "path"
Name = Annotated[
    str, typer.Argument(help="The start of its hash or a source, as `rotoscope loras list` shows.")
]


@loras.command()
def prefetch(
    path: Annotated[
        str, typer.Argument(help="An https URL or owner/name[@revision][/file] on Hugging Face.")
    ],
    *,
    weight_name: Annotated[
        str | None,
        typer.Option(help="The file, where the repository has several.", show_default=False),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it whatever the quota.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Download a LoRA, so that the first job that asks for it need not; prints where it lies."""
    # Here, since the hub's library takes a while to load.
    from rotoscope.worker.lora_sources import LoraSources  # noqa: PLC0415

    sources = LoraSources.of(read_settings(data_dir=data_dir))
    if reference := HubReference.parse(path):
        found, _ = sources.from_hub(reference, weight_name, field=FIELD)
    elif path.startswith(("https://", "http://")):
        if weight_name is not None:
            raise OperatorError("--weight-name is for repositories; a URL names its file.")
        found = sources.from_url(path, field=FIELD)
    else:
        raise OperatorError(f"{path} is neither an https URL nor owner/name on Hugging Face.")
    if pin:
        sources.cache.pin(found.sha256, pinned=True)
    typer.echo(found.path)


@loras.command("list")
def list_loras(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List downloaded LoRAs, the most recently used first."""
    cache = _open(data_dir)
    found = cache.list()
    if as_json:
        text = TypeAdapter(list[dict[str, object]]).dump_json([asdict(one) for one in found])
        typer.echo(text)
        return
    console = Console(highlight=False)
    if not found:
        console.print("No LoRAs yet: `rotoscope loras prefetch PATH` downloads one.")
        return
    console.print(_table(found))
    total = sum(entry.size_bytes for entry in found)
    console.print(f"{total / 1e9:.2f} GB of {cache.quota_bytes / 1e9:g} GB")


@loras.command()
def pin(name: Name, data_dir: DataDir = None) -> None:
    """Keep a LoRA whatever the quota."""
    _say(_open(data_dir).pin(name, pinned=True), "is pinned")


@loras.command()
def unpin(name: Name, data_dir: DataDir = None) -> None:
    """Let the quota decide about a LoRA again."""
    _say(_open(data_dir).pin(name, pinned=False), "is no longer pinned")


@loras.command()
def delete(name: Name, data_dir: DataDir = None) -> None:
    """Remove a LoRA that is neither pinned nor used by a running job."""
    _say(_open(data_dir).delete(name), "is deleted")


def _open(data_dir: DataDir) -> LoraCache:
    return LoraCache.of(read_settings(data_dir=data_dir))


def _table(entries: list[Entry]) -> Table:
    table = Table("sha256", "MB", "last used", "state", "from", box=None, pad_edge=False)
    for entry in entries:
        states = [name for name in ("pinned", "in_use") if getattr(entry, name)]
        table.add_row(
            entry.sha256[:SHOWN],
            f"{entry.size_bytes / 1e6:.1f}",
            entry.used_at.astimezone().strftime("%Y-%m-%d %H:%M"),
            ", ".join(states).replace("_", " "),
            "\n".join(entry.sources),
        )
    return table


def _say(entry: Entry, what: str) -> None:
    source = f" ({entry.sources[0]})" if entry.sources else ""
    typer.echo(f"LoRA {entry.sha256[:SHOWN]}{source} {what}.")

"""webhooks: the keys that they are signed with. They may be rotated while the server runs."""
# ruff: noqa: PLC0415 - loads what the server signs with when it is asked to

from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table

from rotoscope.cli.configuration import DataDir, read_settings

webhooks = typer.Typer(help="Show and rotate the keys of webhooks.", no_args_is_help=True)


@webhooks.command("keys")
def list_keys(data_dir: DataDir = None) -> None:
    """List the keys that webhooks are signed with, the newest first."""
    from rotoscope.web.signing import opened_signer

    with opened_signer(read_settings(data_dir=data_dir)) as signer:
        table = Table("id", "made", "public key", box=None, pad_edge=False)
        for key in signer.in_use():
            made = datetime.fromtimestamp(key.made_at, UTC).astimezone()
            table.add_row(key.id, f"{made:%Y-%m-%d %H:%M}", key.jwk["x"])
    Console().print(table)


@webhooks.command()
def rotate(data_dir: DataDir = None) -> None:
    """Make a new key; those of before go on signing beside it for a week."""
    from rotoscope.web.signing import opened_signer

    with opened_signer(read_settings(data_dir=data_dir)) as signer:
        key = signer.rotate()
    Console(highlight=False).print(
        f"Webhooks are signed with key {key.id} from now on, and with the old one for a week.",
        markup=False,
    )

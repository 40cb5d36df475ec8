"""keys: who may use the server. They may be changed while it runs."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from rotoscope.cli.configuration import DataDir, read_settings
from rotoscope.errors import OperatorError
from rotoscope.keys import Key, KeyStore, NewKey

keys = typer.Typer(help="Make, list, revoke and rotate API keys.", no_args_is_help=True)

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
KeyId = Annotated[str, typer.Argument(help="The key's id, as `rotoscope keys list` shows it.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; any text.")],
    *,
    worker: Annotated[
        bool, typer.Option("--worker", help="A key for a worker, not for a client.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print its token, which is shown this once."""
    role: Literal["client", "worker"] = "worker" if worker else "client"
    with _open(data_dir) as store:
        _show(store.create(name, role))


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List all keys, without their tokens."""
    with _open(data_dir) as store:
        found = store.list()
    table = Table("id", "name", "role", "ends in", "made", "state", box=None, pad_edge=False)
    for key in found:
        table.add_row(
            key.id, key.name, key.role, key.last_four, _when(key.created_at), state_of(key)
        )
    Console().print(table if found else "No keys yet: `rotoscope keys create NAME` makes one.")


@keys.command()
def revoke(key_id: KeyId, data_dir: DataDir = None) -> None:
    """End a key at once."""
    with _open(data_dir) as store:
        key = store.revoke(key_id)
    Console(highlight=False).print(f"Key {key.id} ({key.name}) is revoked.", markup=False)


@keys.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option(help="How long the old key still works, such as 30m, 24h or 7d.")
    ] = "24h",
    data_dir: DataDir = None,
) -> None:
    """Make a successor of a key, with the same requests; the old one ends after the overlap."""
    with _open(data_dir) as store:
        _show(store.rotate(key_id, duration(overlap)))


def duration(text: str) -> timedelta:
    """Such as 90s, 30m, 24h or 7d."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match:
        raise OperatorError(f"{text!r} is not a duration; write it as 30m, 24h or 7d.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def state_of(key: Key) -> str:
    if key.revoked_at:
        return f"revoked {_when(key.revoked_at)}"
    if key.expires_at is None:
        return "valid"
    ended = key.expires_at <= datetime.now(key.expires_at.tzinfo)
    return f"{'ended' if ended else 'valid until'} {_when(key.expires_at)}"


def _open(data_dir: DataDir) -> KeyStore:
    return KeyStore(read_settings(data_dir=data_dir).data_dir)


def _show(new: NewKey) -> None:
    """The token alone on standard output, so that a script can take it."""
    Console(stderr=True, highlight=False).print(
        f"Key {new.key.id} for {new.key.name} ({new.key.role}); its token is shown this once:",
        markup=False,
    )
    typer.echo(new.token)


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")

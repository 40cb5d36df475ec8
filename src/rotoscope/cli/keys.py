"""keys: who may use the server. They may be changed while it runs."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from rotoscope.cli.configuration import DataDir, given, read_settings
from rotoscope.errors import OperatorError
from rotoscope.keys import Key, KeyStore, Limits, NewKey, Priority, open_keys

keys = typer.Typer(help="Make, list, limit, revoke and rotate API keys.", no_args_is_help=True)

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
MaxRunning = Annotated[
    int | None, typer.Option(min=1, help="Most of its jobs that run at once.", show_default=False)
]
MaxQueued = Annotated[
    int | None, typer.Option(min=1, help="Most of its jobs that wait.", show_default=False)
]
PerMinute = Annotated[
    int | None, typer.Option(min=1, help="Most submits within a minute.", show_default=False)
]
Weight = Annotated[
    float | None,
    typer.Option(
        min=0.01, max=100, help="Its share of the queue; others have 1.", show_default=False
    ),
]
Low = Annotated[
    Priority | None,
    typer.Option(help="low: its jobs wait until no other job does.", show_default=False),
]
KeyId = Annotated[str, typer.Argument(help="The key's id, as `rotoscope keys list` shows it.")]


@keys.command()
def create(  # noqa: PLR0913 - one for each option
    name: Annotated[str, typer.Argument(help="Whose key it is; any text.")],
    *,
    worker: Annotated[
        bool, typer.Option("--worker", help="A key for a worker, not for a client.")
    ] = False,
    max_running: MaxRunning = None,
    max_queued: MaxQueued = None,
    per_minute: PerMinute = None,
    weight: Weight = None,
    priority: Low = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print its token, which is shown this once."""
    role: Literal["client", "worker"] = "worker" if worker else "client"
    asked = _asked(max_running, max_queued, per_minute, weight, priority)
    if asked and worker:
        raise OperatorError("Limits are for clients; a worker's key has none.")
    with _open(data_dir) as store:
        new = store.create(name, role)
        if asked:
            store.set_limits(new.key.owner, replace(Limits(), **asked))
        _show(new)


@keys.command()
def limit(  # noqa: PLR0913 - one for each option
    key_id: KeyId,
    *,
    max_running: MaxRunning = None,
    max_queued: MaxQueued = None,
    per_minute: PerMinute = None,
    weight: Weight = None,
    priority: Low = None,
    lift: Annotated[
        bool, typer.Option("--lift", help="Lift the limits that are not named here.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Set what a key's owner may ask, from the next request on; alone, show it."""
    asked = _asked(max_running, max_queued, per_minute, weight, priority)
    with _open(data_dir) as store:
        key = store.get(key_id)
        if key.role == "worker":
            raise OperatorError(f"Key {key.id} is a worker's; limits are for clients.")
        before = Limits() if lift else store.limits(key.owner)
        after = replace(before, **asked)
        if asked or lift:
            store.set_limits(key.owner, after)
    Console(highlight=False).print(
        f"Key {key.id} ({key.name}): {limits_of(after) or 'no limits'}", markup=False
    )


@keys.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List all keys, without their tokens."""
    with _open(data_dir) as store:
        found = {key: limits_of(store.limits(key.owner)) for key in store.list()}
    columns = ("id", "name", "role", "ends in", "made", "state", "limits")
    table = Table(*columns, box=None, pad_edge=False)
    for key, limits in found.items():
        made = _when(key.created_at)
        table.add_row(key.id, key.name, key.role, key.last_four, made, state_of(key), limits)
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


def limits_of(limits: Limits) -> str:
    """Those that are not the defaults, in words."""
    words = {
        "running": limits.max_running,
        "queued": limits.max_queued,
        "a minute": limits.per_minute,
    }
    told = [f"{most} {what}" for what, most in words.items() if most is not None]
    told += [f"weight {limits.weight:g}"] if limits.weight != 1 else []
    return ", ".join([*told, *(["low priority"] if limits.priority == "low" else [])])


def _asked(
    max_running: int | None,
    max_queued: int | None,
    per_minute: int | None,
    weight: float | None,
    priority: Priority | None,
) -> dict[str, Any]:
    """The limits that options named."""
    return given(
        {
            "max_running": max_running,
            "max_queued": max_queued,
            "per_minute": per_minute,
            "weight": weight,
            "priority": priority,
        }
    )


def _open(data_dir: DataDir) -> KeyStore:
    return open_keys(read_settings(data_dir=data_dir))


def _show(new: NewKey) -> None:
    """The token alone on standard output, so that a script can take it."""
    Console(stderr=True, highlight=False).print(
        f"Key {new.key.id} for {new.key.name} ({new.key.role}); its token is shown this once:",
        markup=False,
    )
    typer.echo(new.token)


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")

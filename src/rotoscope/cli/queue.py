"""queue: what waits and runs in each pool of a server; hold a pool back and let it go on."""

from typing import Annotated

import httpx2
import typer
from rich.console import Console
from rich.table import Table

from rotoscope.cli.configuration import read_settings
from rotoscope.errors import OperatorError
from rotoscope.schema.output import ErrorBody
from rotoscope.schema.worker import Pools
from rotoscope.settings import Settings

TIMEOUT_S = 30

queue = typer.Typer(
    help="Show, pause and resume the queue of a server, by a worker's key (ROTOSCOPE_WORKER_KEY).",
    no_args_is_help=True,
)
Server = Annotated[str | None, typer.Option("--server", help="The server.", show_default=False)]
PoolName = Annotated[str, typer.Argument(help="The pool.")]


@queue.command()
def show(server: Server = None) -> None:
    """Show what waits and what runs in each pool."""
    _show(_ask("GET", "", server))


@queue.command()
def pause(pool: PoolName = "default", server: Server = None) -> None:
    """Start no more jobs of a pool; submits are taken, and running jobs go on."""
    _show(_ask("POST", f"/{pool}/pause", server))


@queue.command()
def resume(pool: PoolName = "default", server: Server = None) -> None:
    """Start a pool's jobs again."""
    _show(_ask("POST", f"/{pool}/resume", server))


def _ask(method: str, path: str, server: str | None) -> Pools:
    settings = read_settings(server_url=server)
    if settings.worker_key is None:
        raise OperatorError(
            "Set ROTOSCOPE_WORKER_KEY to a worker's key of this server; "
            "`rotoscope keys create NAME --worker` makes one there."
        )
    answer = _send(method, path, settings, settings.worker_key.get_secret_value())
    if answer.is_success:
        return Pools.model_validate_json(answer.content, extra="ignore")
    try:
        told = ErrorBody.model_validate_json(answer.content, extra="ignore").error_message
    except ValueError:
        told = f"It answered {answer.status_code}."
    raise OperatorError(f"{settings.server_url}: {told}")


def _send(method: str, path: str, settings: Settings, key: str) -> httpx2.Response:
    url = f"{settings.server_url.rstrip('/')}/v1/worker/pools{path}"
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx2.Client(trust_env=False, timeout=TIMEOUT_S, headers=headers) as http:
            return http.request(method, url)
    except (httpx2.TransportError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise OperatorError(f"{settings.server_url} does not answer: {error}") from None


def _show(pools: Pools) -> None:
    table = Table("pool", "state", "queued", "running", "oldest waits", box=None, pad_edge=False)
    for pool in pools.pools:
        oldest = "" if pool.oldest_s is None else f"{pool.oldest_s:.0f} s"
        state = "paused" if pool.paused else "open"
        table.add_row(pool.name, state, str(pool.queued), str(pool.running), oldest)
    Console().print(table if pools.pools else "No pool has had a job yet.")

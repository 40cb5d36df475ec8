"""list: a key's own requests, newest first."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rotoscope.cli.connection import LOCAL, AsJson, Key, ServerUrl, print_json
from rotoscope.cli.say import interruptible
from rotoscope.client import ApiError, Client, UnreachableError
from rotoscope.client.display import clock, in_short
from rotoscope.schema.output import AnyWord, Listed, Page

AT_ONCE = 1000
"""Most requests of one page."""
LONGEST_WORD = len("in_progress")
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
STYLES = {"in_progress": "cyan", "succeeded": "green", "failed": "red", "cancelled": "dim"}


class Lister:
    """The pages of one key's requests; a server that is away is not waited for."""

    def __init__(self, server: str, key: str | None) -> None:
        self._client = Client(server, key, patience_s=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def page(self, *, limit: int, status: AnyWord | None = None, cursor: str | None = None) -> Page:
        """Up to `limit` requests, at most AT_ONCE.

        Raises:
            ApiError: The server refuses.
            UnreachableError: It does not answer.
        """
        return self._client.list(limit=limit, status=status, cursor=cursor)

    def preview(self, one: Listed) -> bytes | None:
        """How a running request looks so far, if that can be had."""
        try:
            return self._client.preview(one)
        except (ApiError, UnreachableError):
            return None

    def newest(
        self, *, limit: int, status: AnyWord | None = None, cursor: str | None = None
    ) -> Page:
        """Up to `limit` requests, from as many pages as it takes; raises as `page` does."""
        found: list[Listed] = []
        while True:
            missing = min(limit - len(found), AT_ONCE)
            page = self.page(limit=missing, status=status, cursor=cursor)
            found += page.requests
            cursor = page.next_cursor
            if cursor is None or len(found) >= limit:
                return Page(requests=found, next_cursor=cursor)


def list_requests(  # noqa: PLR0913 - a command's arguments are its options
    *,
    status: Annotated[
        AnyWord | None,
        typer.Option(help="Only these; completed is succeeded or failed.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most requests to list.")] = 20,
    cursor: Annotated[
        str | None,
        typer.Option(help="The next_cursor of a --json list: what follows it.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    server: ServerUrl = LOCAL,
    key: Key = None,
) -> None:
    """List the key's own requests, newest first."""
    with interruptible(), Lister(server, key) as lister:
        page = lister.newest(limit=limit, status=status, cursor=cursor)
    if as_json:
        print_json(page)
        return
    table = table_of(page.requests, datetime.now(UTC))
    Console(highlight=False, markup=False).print(table if page.requests else "No requests.")
    if page.next_cursor:
        Console(stderr=True, highlight=False).print("There are more: --limit lists them.")


def table_of(requests: Sequence[Listed], now: datetime, *, steady: bool = False) -> Table:
    """A row for each request: how it is, for how long it has been there, how long it ran.

    A `steady` table has its columns at the same places whatever is in them.
    """
    table = Table(box=None, pad_edge=False, expand=steady)
    table.add_column("request", no_wrap=True)
    table.add_column("status", min_width=LONGEST_WORD)
    table.add_column("", ratio=1 if steady else None)
    table.add_column("since", min_width=5)
    table.add_column("ran", min_width=5)
    for one in requests:
        table.add_row(
            one.request_id,
            Text(one.status, STYLES.get(one.status, "")),
            what_of(one),
            _age((now - one.created_at).total_seconds()),
            _ran(one, now),
        )
    return table


def what_of(one: Listed) -> str:
    """How far a running request is, or why one failed."""
    if one.progress:
        return in_short(one.progress)
    return one.error.code if one.error else ""


def _ran(one: Listed, now: datetime) -> str:
    if one.started_at is None:
        return ""
    return clock(max(0.0, ((one.finished_at or now) - one.started_at).total_seconds()))


def _age(seconds: float) -> str:
    """As 12s, 3m, 5h or 2d; clocks that disagree a little make no negative age."""
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m")):
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def changed(before: Sequence[Listed], after: Sequence[Listed]) -> Iterator[Listed]:
    """The requests of `after` that are new or not as they were."""
    seen = {one.request_id: one for one in before}
    return (one for one in after if seen.get(one.request_id) != one)

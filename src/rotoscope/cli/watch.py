"""watch: a live table of a key's requests; a line for each change where there is no terminal."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Protocol, Self

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rotoscope.cli.connection import LOCAL, Key, ServerUrl, print_json
from rotoscope.cli.listing import Lister, changed, table_of, what_of
from rotoscope.cli.picture import half_blocks
from rotoscope.client import ApiError, UnreachableError
from rotoscope.schema.output import Listed

SERVER_ERROR = 500
ORDER = ("in_progress", "in_queue")
PICTURE_COLUMNS = 48


@dataclass(frozen=True, slots=True)
class Look:
    """The requests at one moment; `trouble` says why they are those of an earlier one."""

    requests: Sequence[Listed]
    at: datetime
    trouble: str | None = None


class View(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, look: Look) -> None: ...


def watch(  # noqa: PLR0913 - a command's arguments are its options
    *,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Most requests to show.")] = 20,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print each request as one line of JSON, whenever it changes."),
    ] = False,
    server: ServerUrl = LOCAL,
    key: Key = None,
) -> None:
    """Show the key's requests as they change, until Ctrl-C: running, queued, then ended ones."""
    try:
        with Lister(server, key) as lister, _view(lister, as_json=as_json, once=once) as view:
            for look in looks(lister, rows):
                view.show(look)
                if once:
                    return
                time.sleep(every)
    except KeyboardInterrupt:
        return


def looks(lister: Lister, rows: int) -> Iterator[Look]:
    """A look each time it is asked for; a server that went away later is waited for.

    Raises:
        ApiError: The server refuses.
        UnreachableError: It did not answer the first time.
    """
    last = Look(find(lister, rows), datetime.now(UTC))
    while True:
        yield last
        trouble = None
        requests = last.requests
        try:
            requests = find(lister, rows)
        except UnreachableError as error:
            trouble = str(error)
        except ApiError as error:
            if error.status < SERVER_ERROR:
                raise
            trouble = str(error)
        last = Look(requests, datetime.now(UTC), trouble)


def find(lister: Lister, rows: int) -> list[Listed]:
    """Running requests, those that wait longest, the newest of the ended ones."""
    # By themselves, since a long queue may have come after them.
    running = lister.page(limit=rows, status="in_progress").requests
    newest = {one.request_id: one for one in lister.page(limit=rows).requests}
    # Of a request in both, the later look.
    all_ = [*{**{one.request_id: one for one in running}, **newest}.values()]
    going = sorted((one for one in all_ if one.status in ORDER), key=_place)
    ended = sorted((one for one in all_ if one.status not in ORDER), key=lambda one: one.created_at)
    return [*going, *reversed(ended)][:rows]


def _place(one: Listed) -> tuple[int, datetime]:
    return ORDER.index(one.status), one.created_at


def _view(lister: Lister, *, as_json: bool, once: bool) -> View:
    if as_json:
        return JsonLines()
    console = Console(highlight=False)
    if once:
        return Once(console)
    return LiveTable(console, lister.preview) if console.is_terminal else Lines(console)


class Quiet:
    """A view that needs no beginning and no end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Once(Quiet):
    """The table, printed."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, look: Look) -> None:
        self._console.print(drawn(look))


class JsonLines(Quiet):
    """A JSON object on a line for each request that is new or has changed."""

    def __init__(self) -> None:
        self._last: Sequence[Listed] = ()

    def show(self, look: Look) -> None:
        for one in changed(self._last, look.requests):
            print_json(one, indent=None)
        sys.stdout.flush()
        self._last = look.requests


class Lines(Quiet):
    """The same in words."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Sequence[Listed] = ()

    def show(self, look: Look) -> None:
        for one in changed(self._last, look.requests):
            line = "  ".join((one.request_id, one.status, what_of(one))).rstrip()
            self._console.print(line, markup=False, soft_wrap=True)
        self._last = look.requests


class LiveTable:
    """The table, drawn again in place; below it how the first running request looks so far."""

    def __init__(self, console: Console, preview: Callable[[Listed], bytes | None]) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._preview = preview
        self._seen: tuple[str | None, Text | None] = (None, None)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, look: Look) -> None:
        running = next((one for one in look.requests if one.progress), None)
        picture = self._picture(running) if running else None
        below = [Text(), picture] if picture else []
        self._live.update(Group(drawn(look, steady=True), *below), refresh=True)

    def _picture(self, running: Listed) -> Text | None:
        """Fetched when there is a new one."""
        url = running.progress.preview if running.progress else None
        if url != self._seen[0]:
            content = self._preview(running)
            self._seen = (url, half_blocks(content, PICTURE_COLUMNS) if content else None)
        return self._seen[1]


def drawn(look: Look, *, steady: bool = False) -> RenderableType:
    if not look.requests:
        shown: RenderableType = Text("This key has no requests yet.")
    else:
        shown = table_of(look.requests, look.at, steady=steady)
    trouble = [Text(f"{look.trouble} Trying again.", style="yellow")] if look.trouble else []
    return Group(shown, *trouble)

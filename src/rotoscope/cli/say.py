"""What commands say on standard error, where no result ever goes."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from rotoscope.cli.exits import Exit
from rotoscope.client import ApiError
from rotoscope.client.display import adjustment
from rotoscope.schema.output import Adjustment

err = Console(stderr=True, highlight=False)


def note(sentence: str) -> None:
    err.print(sentence, markup=False, soft_wrap=True)


def complain(sentence: str) -> None:
    err.print(sentence, style="red", markup=False, soft_wrap=True)


def complain_of_fields(detail: Iterable[Mapping[str, Any]]) -> None:
    """A line for each wrong field, as an answer 422 lists them."""
    for entry in detail:
        field = ".".join(str(part) for part in entry["loc"][1:])
        complain(f"{field}: {entry['msg']}")


def tell_warnings(warnings: Iterable[Adjustment] | None) -> None:
    for warning in warnings or ():
        err.print(adjustment(warning), style="yellow", markup=False, soft_wrap=True)


def refused(error: ApiError) -> typer.Exit:
    """Say what the server said; the way to end."""
    complain(str(error))
    complain_of_fields(entry.model_dump() for entry in error.detail)
    return typer.Exit(Exit.WRONG_USE if error.detail else Exit.FAILED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends the command without a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None

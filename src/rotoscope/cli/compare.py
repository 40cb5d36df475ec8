"""compare: what two results were made differently with, and both in one picture or video."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from rotoscope.cli.again import differing, first_problem
from rotoscope.cli.connection import LOCAL, Key, ServerUrl, connect
from rotoscope.cli.requests import end_without_video
from rotoscope.cli.say import interruptible, note
from rotoscope.client import Client
from rotoscope.errors import OperatorError
from rotoscope.schema.output import Manifest, Result

PICTURE, VIDEO = ".png", ".mp4"
SHOWN = 12
MEDIA_LIBRARIES = frozenset({"av", "numpy", "PIL"})
Which = Annotated[
    str,
    typer.Argument(
        help="A request's id, or a file with a /result answer or a manifest.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: what it was made with, and the answer that leads to its video."""

    name: str
    manifest: Manifest | None
    result: Result | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that the two were not made alike with, by its path in the manifest."""

    name: str
    a: Any
    b: Any


def compare(  # noqa: PLR0913 - a command's arguments are its options
    a: Which,
    b: Which,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also show both: moments of each in a .png, or side by side in an .mp4, at most "
            "480 pixels high and without sound. Needs the extra worker.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
    server: ServerUrl = LOCAL,
    key: Key = None,
) -> None:
    """Print what two results were made differently with, and show both at once."""
    if out and out.suffix.lower() not in (PICTURE, VIDEO):
        raise typer.BadParameter(f"{out} is neither .png nor .mp4", param_hint="--out")
    with interruptible(), connect(server, key) as client:
        sides = [_side(name, client) for name in (a, b)]
        found = list(differences(*sides))
        if out:
            _show(sides, out, server, key)
    if as_json:
        told = {"a": a, "b": b, "differences": [asdict(one) for one in found]}
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(found, sides)
    if out:
        typer.echo(out, err=as_json)


def differences(one: Side, other: Side) -> Iterator[Difference]:
    """Nothing where one of them has no manifest, as those of other servers have none."""
    if one.manifest and other.manifest:
        for name, a, b in differing(one.manifest, other.manifest, asked=True):
            yield Difference(name, a, b)


def _side(name: str, client: Client) -> Side:
    if Path(name).is_file():
        return _read(Path(name))
    return _made(name, client.result(name))


def _read(file: Path) -> Side:
    """A /result answer, or the manifest that it holds."""
    try:
        content = json.loads(file.read_text())
        if "request_id" not in content:
            return Side(file.name, Manifest.model_validate(content, extra="ignore"))
        result = Result.model_validate(content, extra="ignore")
    except (OSError, ValueError, TypeError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise typer.BadParameter(f"{file} is no /result answer or manifest: {reason}") from None
    return _made(file.name, result)


def _made(name: str, result: Result) -> Side:
    end_without_video(result)
    return Side(name, result.manifest, result)


def _show(sides: list[Side], out: Path, server: str, key: str | None) -> None:
    """Write both into one file."""
    try:
        # Here, so that parameters can be compared without the media libraries.
        from rotoscope.cli.sheet import write_moments, write_side_by_side  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in MEDIA_LIBRARIES:
            raise
        raise OperatorError("--out needs the extra: pip install rotoscope[worker].") from None
    write = write_side_by_side if out.suffix.lower() == VIDEO else write_moments
    with tempfile.TemporaryDirectory(prefix="rotoscope-compare-") as folder:
        first, second = (
            _fetch(side, Path(folder) / str(index), server, key) for index, side in enumerate(sides)
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        write(first, second, out, labels=(f"A  {_end(sides[0].name)}", f"B  {_end(sides[1].name)}"))


def _fetch(side: Side, into: Path, server: str, key: str | None) -> Path:
    """The side's video; the key goes to no other host than the server's."""
    if side.result is None or side.result.output is None or side.result.output.video is None:
        raise typer.BadParameter(
            f"{side.name} names no video; give a request's id or a /result answer",
            param_hint="--out",
        )
    own = urlsplit(side.result.output.video)[:2] == urlsplit(server)[:2]
    with connect(server, key if own else None) as client:
        return client.download(side.result, into)


def _print(found: list[Difference], sides: list[Side]) -> None:
    if missing := [side.name for side in sides if side.manifest is None]:
        note(f"No manifest tells what {' and '.join(missing)} was made with.")
        return
    if not found:
        typer.echo("made with the same")
        return
    table = Table("", "A", "B", box=None, pad_edge=False)
    for one in found:
        table.add_row(*(_short(value) for value in (one.name, one.a, one.b)))
    Console(highlight=False, markup=False).print(table)


def _end(name: str) -> str:
    """What fits above a small video; ids of one day begin alike."""
    return name if len(name) <= SHOWN else f"…{name[-SHOWN:]}"


def _short(value: Any) -> str:
    return "" if value is None else str(value)

"""Command-line options to the body of a submit; pure but for looking which files exist.

An option is made for each field of the input model, so that `--help` lists them all and a new
field needs no line here. Checking values is the input model's business.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from rotoscope.client.inputs import STAND_IN, is_url
from rotoscope.schema.input import VideoToVideoInput, parse_input

OWN_OPTIONS = frozenset({"video_url", "loras"})
"""Fields that `run` offers in a handier form: VIDEO and --lora."""
FILE_FIELDS = ("video_url", "image_url")


@dataclass(frozen=True, slots=True)
class LocalLora:
    """A --lora value: where the file is, and how strongly it acts."""

    path: str
    scale: float

    @classmethod
    def parse(cls, text: str) -> "LocalLora":
        """PATH or PATH:SCALE; a colon that no number follows belongs to the path."""
        path, colon, scale = text.rpartition(":")
        try:
            return cls(path, float(scale)) if colon else cls(text, 1.0)
        except ValueError:
            return cls(text, 1.0)


def with_input_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command`, which takes **fields, an option for each of the input's fields."""
    own = inspect.signature(command)
    fixed = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    made = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(field)
        )
        for name, field in VideoToVideoInput.model_fields.items()
        if name not in OWN_OPTIONS
    ]
    command.__signature__ = own.replace(parameters=[*fixed, *made])  # type: ignore[attr-defined] # inspect reads it, typeshed does not know it
    command.__annotations__ |= {parameter.name: parameter.annotation for parameter in made}
    return command


def make_body(  # noqa: PLR0913, PLR0917 - the sources of a request, the weakest last
    video: str | None,
    loras: list[str],
    text: str | None,
    pairs: list[str],
    fields: Mapping[str, Any],
    base: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The body as asked, local files still by their paths.

    `base` is the weakest, then come --input, --set and the options.
    """
    body: dict[str, Any] = {
        "loras": [],
        **(base or {}),
        **_input_json(text),
        **dict(map(_pair, pairs)),
    }
    body |= {name: value for name, value in fields.items() if value is not None}
    if video is not None:
        body["video_url"] = video
    if isinstance(body.get("video_size"), str):
        body["video_size"] = _size(body["video_size"])
    if loras:
        body["loras"] = [{"path": lora.path, "scale": lora.scale} for lora in _parsed(loras)]
    return body


def check_body(body: Mapping[str, Any]) -> None:
    """Find every mistake before anything is started or uploaded.

    Raises:
        InvalidInputError: One entry per wrong field.
    """
    uploaded = {name: STAND_IN for name in FILE_FIELDS if is_local(body.get(name))}
    parse_input(json.dumps({**body, **uploaded}).encode())


def is_local(value: object) -> bool:
    """Whether it names a file here; anything with a scheme is a URI, whoever can open it."""
    return isinstance(value, str) and not is_url(value)


def is_local_file(value: str) -> bool:
    return is_local(value) and Path(value).is_file()


def _annotation(field: FieldInfo) -> Any:
    help_text = (field.description or "").replace("[", r"\[")
    return Annotated[
        _option_type(field.annotation) | None,
        typer.Option(help=help_text, show_default=False, rich_help_panel="Input"),
    ]


def _option_type(annotation: Any) -> Any:
    """What a terminal can give: true or false, a number, one of a list of words, or text."""
    if get_origin(annotation) is Literal or annotation in (bool, int, float):
        return annotation
    plain = [kind for kind in get_args(annotation) if kind is not type(None)]
    is_optional = get_origin(annotation) in (Union, UnionType) and len(plain) == 1
    return _option_type(plain[0]) if is_optional else str


def _input_json(text: str | None) -> dict[str, Any]:
    """--input: JSON, or @FILE with JSON."""
    if text is None:
        return {}
    try:
        body = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"not JSON or @FILE: {error}", param_hint="--input") from None
    if not isinstance(body, dict):
        raise typer.BadParameter("it must be a JSON object", param_hint="--input")
    return body


def _pair(text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is JSON is taken as such, anything else as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _size(text: str) -> str | dict[str, int]:
    """512x320 as width and height; a name stays a name."""
    width, cross, height = text.partition("x")
    if cross and width.isdecimal() and height.isdecimal():
        return {"width": int(width), "height": int(height)}
    return text


def _parsed(loras: list[str]) -> Iterator[LocalLora]:
    return map(LocalLora.parse, loras)

"""The models that can be asked for, and their schemas as published.

The published schemas are JSON Schema 2020-12 and stand alone: nothing in them refers elsewhere.
"""

from typing import Any

from pydantic import BaseModel

from rotoscope.schema.input import MODEL_ID, VideoToVideoInput
from rotoscope.schema.output import Answer, Output

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Entry(Answer):
    """One model of the catalogue."""

    model_id: str
    display_name: str
    categories: list[str]
    kind: str
    base_price_usd: float
    price_unit: str
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None


class Catalogue(Answer):
    models: list[Entry]
    total: int


class Categories(Answer):
    categories: list[str]


def published(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The model's schema with every reference replaced by what it refers to."""
    schema = model.model_json_schema(mode="validation")
    parts = schema.pop("$defs", {})
    inlined: dict[str, Any] = _inline(schema, parts)
    return {"$schema": DIALECT} | inlined | {"title": title}


def _inline(node: Any, parts: dict[str, Any]) -> Any:
    match node:
        case {"$ref": str(target), **rest}:
            return _inline(parts[target.rpartition("/")[2]], parts) | _inline(rest, parts)
        case dict():
            return {name: _inline(value, parts) for name, value in node.items()}
        case list():
            return [_inline(value, parts) for value in node]
        case _:
            return node


MODELS: dict[str, Entry] = {
    MODEL_ID: Entry(
        model_id=MODEL_ID,
        display_name="LTX-2 19B video to video with LoRAs",
        categories=["video-to-video"],
        kind="video",
        base_price_usd=0.0,
        price_unit="output",
        input_schema=published(VideoToVideoInput, "Input"),
        output_schema=published(Output, "Output"),
    )
}

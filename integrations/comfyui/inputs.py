"""What a node asks for, made from the published schema of the Model API's input."""

from collections.abc import Mapping
from typing import Any

from rotoscope.schema.catalogue import MODELS
from rotoscope.schema.input import MODEL_ID

Widget = tuple[Any, dict[str, Any]]

BY_TENSOR = frozenset({"video_url", "image_url", "loras"})
"""Fields that come as tensors, or from another node."""
LARGEST_EXACT = 2**53 - 1
"""ComfyUI's page counts in doubles: beyond this a seed would become another one."""
STEP = 0.05

_SCHEMA: Mapping[str, Any] = MODELS[MODEL_ID].input_schema or {}


def widgets() -> dict[str, Widget]:
    """A widget for each field of the input that is a plain value, in the schema's order."""
    properties: Mapping[str, Mapping[str, Any]] = _SCHEMA["properties"]
    return {name: _widget(name, form) for name, form in properties.items() if name not in BY_TENSOR}


def _widget(name: str, form: Mapping[str, Any]) -> Widget:
    options = {"default": form.get("default", ""), "tooltip": form.get("description", "")}
    if words := _words(form):
        return list(words), options
    match form["type"]:
        case "boolean":
            return "BOOLEAN", options
        case "integer":
            seed = {"control_after_generate": True} if name == "seed" else {}
            return "INT", options | _bounds(form) | seed
        case "number":
            return "FLOAT", options | _bounds(form) | {"step": STEP}
        case _:
            return "STRING", options | {"multiline": True}


def _words(form: Mapping[str, Any]) -> list[str]:
    """The names that may be chosen; of a field with other forms too, its names."""
    forms = [form, *form.get("anyOf", []), *form.get("oneOf", [])]
    return next((list(one["enum"]) for one in forms if "enum" in one), [])


def _bounds(form: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "min": max(form["minimum"], -LARGEST_EXACT),
        "max": min(form["maximum"], LARGEST_EXACT),
    }

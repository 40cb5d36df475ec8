"""The head of a LoRA file, read before any library or tensor: what the file claims to hold.

A safetensors file starts with eight bytes of length and a JSON object of that length, which names
each tensor's type, shape and place. Everything that can be judged from it is judged here, so that a
wrong file costs ten megabytes of memory at most, however large it is or claims to be.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 10_000_000
MAX_TENSORS = 20_000
MAX_NAME = 400
LENGTH_BYTES = 8
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
INTEGERS = ("I64", "I32", "I16", "I8", "U8")
"""As some trainers write an alpha."""

_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")


class NotALoraError(Exception):
    """Why a file cannot be used, as the end of a sentence that starts with its name."""


@dataclass(frozen=True, slots=True)
class Header:
    shapes: Mapping[str, tuple[int, ...]]
    """Of each tensor, by the file's own name of it."""
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """What `path` claims to hold.

    Raises:
        NotALoraError: It is no safetensors file, or its header is damaged or contradicts the file.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(LENGTH_BYTES + 1)
        _require_safetensors(head, path)
        length = int.from_bytes(head[:LENGTH_BYTES], "little")
        if length > min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
            raise NotALoraError(
                f"its header claims {length} bytes, where the file has {size} and at most "
                f"{MAX_HEADER_BYTES} are read"
            )
        stream.seek(LENGTH_BYTES)
        entries = _parse(stream.read(length))
    metadata = _metadata(entries.pop("__metadata__", {}))
    if len(entries) > MAX_TENSORS:
        raise NotALoraError(f"it has {len(entries)} tensors; at most {MAX_TENSORS} are read")
    body = size - LENGTH_BYTES - length
    shapes = {name: _shape(name, entry, body) for name, entry in entries.items()}
    _require_apart(entries)
    return Header(shapes, metadata)


def shown(name: str) -> str:
    """A name from a file as it may stand in a sentence: printable, and not endless."""
    limit = 80
    clean = name if name.isprintable() else ascii(name)
    return clean if len(clean) <= limit else f"{clean[:limit]}…"


def _require_safetensors(head: bytes, path: Path) -> None:
    if not head:
        raise NotALoraError("it is empty")
    if head.startswith(_PICKLES) or (head[8:] != b"{" and path.suffix in _PICKLE_SUFFIXES):
        raise NotALoraError("it is a pickle, which could run code; pass the .safetensors version")
    if head[LENGTH_BYTES:] != b"{":
        raise NotALoraError("it is not a safetensors file")


def _parse(text: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise NotALoraError("its header is not JSON") from None
    if not isinstance(entries, dict):
        raise NotALoraError("its header is not a JSON object")
    return entries


def _require_apart(entries: Mapping[str, Any]) -> None:
    """No two tensors may share bytes, as no writer has them do."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        start, after = entry["data_offsets"]
        if start < end:
            raise NotALoraError(f"it is damaged ({shown(name)} shares its bytes with another)")
        end = after


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers disagree about which of two entries of one name counts, so neither does."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotALoraError(f"its header names {shown(twice)} twice")
    return entries


def _metadata(entry: object) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
        raise NotALoraError("its metadata is not a table of texts")
    return entry


def _shape(name: str, entry: object, body: int) -> tuple[int, ...]:
    """The shape of one tensor, whose bytes must lie within the `body` of the file."""
    if len(name) > MAX_NAME:
        raise NotALoraError(f"a tensor's name has {len(name)} characters: {shown(name)}")
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            pass
        case _:
            raise NotALoraError(f"it is damaged (the entry of {shown(name)} in its header)")
    if dtype not in FLOATS and not (dtype in INTEGERS and name.endswith(".alpha")):
        raise NotALoraError(
            f"{shown(name)} does not hold floating-point numbers but {shown(dtype)}"
        )
    if not 0 <= start <= end <= body:
        raise NotALoraError(
            f"it is damaged or cut off ({shown(name)} ends at byte {end} of {body})"
        )
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise NotALoraError(f"it is damaged (the shape of {shown(name)})")
    return tuple(shape)

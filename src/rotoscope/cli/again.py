"""run --from-manifest: the request of a clip that was made, and whether a new one is made alike.

What can be told before (a source, picture or LoRA that lies here is another one) is refused; what
only the server knows (its checkpoint, its versions, what it downloaded) is compared afterwards.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from rotoscope.cli.request import FILE_FIELDS, is_local_file
from rotoscope.schema.input import UPLOAD_SCHEME
from rotoscope.schema.output import Manifest

OPTION = "--from-manifest"
# How a clip was asked for; the rest of a manifest is how it was made.
_ASKED: dict[str, Any] = {"input": True, "asked_prompt": True}
_NAMES: dict[str, Any] = {"loras": {"__all__": {"path"}}}
LEAST_SIDE = 64
"""Smallest side that {width, height} may ask for."""


def read_manifest(file: Path) -> Manifest:
    """The manifest in a file, which is one, or the whole answer of /result.

    Raises:
        typer.BadParameter: It is neither, or too old to hold its request.
    """
    try:
        content = json.loads(file.read_text())
        manifest = Manifest.model_validate(content.get("manifest", content), extra="ignore")
    except (OSError, ValueError, AttributeError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise typer.BadParameter(f"{file} holds no manifest: {reason}", param_hint=OPTION) from None
    if manifest.input is None:
        raise typer.BadParameter(
            f"{file} was written by a version that did not keep the request", param_hint=OPTION
        )
    return manifest


def request_of(manifest: Manifest, *, own: bool) -> dict[str, Any]:
    """The body that makes the clip again, without files that cannot be had once more.

    The prompt is the one that was used, so that no language model has a say; the size is the one
    that was made, whatever another server takes for `auto`; LoRAs of Hugging Face are asked for by
    the commit.

    Args:
        manifest: What the clip was made with.
        own: Whether it is for a server that was just started, which has no uploads.
    """
    gone = ("sha256:", UPLOAD_SCHEME) if own else ("sha256:",)
    body = {
        name: value
        for name, value in (manifest.input or {}).items()
        if name not in FILE_FIELDS or not str(value).startswith(gone)
    }
    body |= {"prompt": manifest.prompt, "enable_prompt_expansion": False}
    body["loras"] = [_pinned(lora, manifest) for lora in body["loras"]]
    if body["video_size"] == "auto" and min(manifest.width, manifest.height) >= LEAST_SIDE:
        body["video_size"] = {"width": manifest.width, "height": manifest.height}
    return body


def objections(body: Mapping[str, Any], manifest: Manifest, *, own: bool) -> Iterator[str]:
    """What keeps a valid `body` from making the clip of `manifest`, as far as it can be told here.

    Args as those of request_of.
    """
    files = {"video_url": manifest.source_sha256, "image_url": manifest.image_sha256}
    for name, sha256 in files.items():
        value = body.get(name)
        if value is None and sha256 is not None:
            yield f"{name}: a manifest keeps no files; give the one that the clip was made with"
        elif is_local_file(value or "") and _sha256(Path(value or "")) != sha256:
            yield f"{name}: {value} is not the file that the clip was made with"
    hashes = {lora.sha256 for lora in manifest.loras}
    for index, lora in enumerate(body["loras"]):
        path, acts = lora["path"], lora.get("scale", 1) > 0
        if acts and own and path.startswith(UPLOAD_SCHEME):
            yield f"loras.{index}.path: it was an upload; give the LoRAs anew, each with --lora"
        elif acts and is_local_file(path) and _sha256(Path(path)) not in hashes:
            yield f"loras.{index}.path: {path} is not a file that the clip was made with"


def _pinned(lora: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """The very file that was used, where a branch of its repository may have moved on."""
    sources = {facts.path: facts.source for facts in manifest.loras if facts.source}
    if lora["path"] not in sources:
        return lora
    return {"path": sources[lora["path"]], "scale": lora["scale"]}


def differences(before: Manifest, after: Manifest) -> Iterator[str]:
    """A line for each value that the two clips were not made alike with."""
    for name, old, new in differing(before, after):
        yield f"{name}: was {old}, is {new}"


def differing(
    one: Manifest, other: Manifest, *, asked: bool = False
) -> Iterator[tuple[str, Any, Any]]:
    """Each value that differs, by its path; with `asked`, also what only the requests tell."""
    left, right = (dict(_values(manifest, asked=asked)) for manifest in (one, other))
    for name in dict.fromkeys([*left, *right]):
        if left.get(name) != right.get(name):
            yield name, left.get(name), right.get(name)


def _values(manifest: Manifest, *, asked: bool) -> Iterator[tuple[str, Any]]:
    made = manifest.model_dump(exclude=_ASKED if asked else _ASKED | _NAMES)
    yield from _flat(made)
    # The files are told by their hashes; most other fields by what became of them.
    told = {*made, *FILE_FIELDS}
    if asked:
        rest = {name: value for name, value in (manifest.input or {}).items() if name not in told}
        yield from _flat(rest, "input")


def _flat(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested tables and lists, by its path."""
    match node:
        case dict():
            parts = [(str(key), value) for key, value in node.items()]
        case list() | tuple():
            parts = [(str(index), value) for index, value in enumerate(node)]
        case _:
            yield name, node
            return
    for key, value in parts:
        yield from _flat(value, f"{name}.{key}" if name else key)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"

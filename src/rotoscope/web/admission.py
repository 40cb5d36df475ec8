"""What a submit is refused for although it fits the schema: by field, all at once.

Only what can be told without opening a connection or a file; the worker finds the rest.
"""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rotoscope.media.fetch import refusal
from rotoscope.schema.hub import HubReference
from rotoscope.schema.input import LORA_SCHEME, VideoToVideoInput
from rotoscope.schema.output import FieldError
from rotoscope.storage import upload_id
from rotoscope.web.parts import Parts

_FORMS = (
    "Give an https:// URL of a .safetensors file, a Hugging Face repository as owner/name, an "
    "upload's rotoscope:// URI, rotoscope://loras/ and the name of a LoRA that comes with the "
    "checkpoint, or an absolute path inside a folder that the operator listed in lora_folders."
)

# Which names there are depends on the checkpoint that the worker has open.
_LORA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

Place = list[str | int]


def objections(asked: VideoToVideoInput, owner: str, parts: Parts) -> list[FieldError]:
    """Everything that speaks against running this input, one entry per field."""
    return list(_objections(asked, owner, parts))


def _objections(asked: VideoToVideoInput, owner: str, parts: Parts) -> Iterator[FieldError]:
    for place, uri in _media(asked):
        if reason := _uri_objection(uri, owner, parts):
            yield FieldError(loc=["body", *place], msg=reason, type="uri")
    for index, lora in enumerate(asked.loras):
        if reason := _lora_objection(lora.path, owner, parts):
            place = ["body", "loras", index, "path"]
            yield FieldError(loc=place, msg=reason, type="lora_path", input=lora.path[:200])


def _media(asked: VideoToVideoInput) -> Iterator[tuple[Place, str]]:
    yield ["video_url"], asked.video_url
    if asked.image_url is not None:
        yield ["image_url"], asked.image_url


def _uri_objection(uri: str, owner: str, parts: Parts) -> str | None:
    if uri.startswith("rotoscope:"):
        return _upload_objection(uri, owner, parts)
    return refusal(uri, parts.policy)


def _upload_objection(uri: str, owner: str, parts: Parts) -> str | None:
    upload = parts.storage.upload(upload_id(uri) or "")
    if upload is None or upload.owner != owner or upload.expired(datetime.now(UTC)):
        # One sentence for all three: whether another key's upload exists is none of the caller's
        # business.
        return "There is no such upload of yours, or it expired; upload the file again."
    return None


def _lora_objection(path: str, owner: str, parts: Parts) -> str | None:
    if path.startswith(LORA_SCHEME):
        return None if _LORA_NAME.fullmatch(path.removeprefix(LORA_SCHEME)) else _FORMS
    if path.startswith(("https://", "http://", "rotoscope:")):
        return _uri_objection(path, owner, parts)
    if path.startswith("/"):
        return _folder_objection(path, parts.settings.lora_folders)
    return None if HubReference.parse(path) else _FORMS


def _folder_objection(path: str, folders: tuple[Path, ...]) -> str | None:
    """Whether a local path leads out of the listed folders, by its text or by a link."""
    inside = [
        folder
        for folder in folders
        if Path(os.path.normpath(path)).is_relative_to(folder.absolute())
    ]
    if "\0" in path or not any(Path(path).resolve().is_relative_to(f.resolve()) for f in inside):
        return f"This path lies outside the folders that the operator listed. {_FORMS}"
    return None

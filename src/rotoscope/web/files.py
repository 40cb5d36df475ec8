"""Results to download and files to upload.

A result's URL needs no key: it holds 128 random bits, and its file never changes. So its ETag is
those bits, and it may be kept for ever.
"""

import re
from datetime import timedelta
from pathlib import Path

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from starlette.datastructures import UploadFile

from rotoscope.errors import (
    BodyTooLargeError,
    ForbiddenError,
    InvalidInputError,
    UnauthorizedError,
    UnknownRequestError,
)
from rotoscope.schema.output import ErrorBody, FieldError, Uploaded
from rotoscope.storage import Incoming, Upload
from rotoscope.web.answers import as_json
from rotoscope.web.auth import Owner, client_owner, scheme
from rotoscope.web.bodies import content_type, limited, save
from rotoscope.web.errors import describe, error_response, invalid
from rotoscope.web.parts import Parts, PartsDep

CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
}
PIECE = 1024 * 1024
_RANGE = re.compile(r"bytes=\s*(?:\d+-\d*|-\d+)(?:\s*,\s*(?:\d+-\d*|-\d+))*\s*", re.ASCII)

router = APIRouter(tags=["files"])
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
}


@router.api_route(
    "/files/{key:path}",
    methods=["GET", "HEAD"],
    response_class=FileResponse,
    responses=describe(UnknownRequestError) | {304: {}, 206: {}, 416: {}},
    include_in_schema=False,
)
def get_file(key: str, request: Request, parts: PartsDep) -> Response:
    """A result's file, whole or in ranges."""
    file = parts.storage.output(key)
    if file is None:
        raise UnknownRequestError("There is no such file, or it has expired.")
    headers = {
        "ETag": f'"{file.parent.name}"',
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return _ranged(request, file, headers)


@router.post(
    "/v1/uploads",
    response_model=Uploaded,
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, BodyTooLargeError, InvalidInputError)
    | {400: {"model": ErrorBody, "description": "UnreadableForm"}},
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": _BYTES, "multipart/form-data": _FORM}
        }
    },
)
async def upload(request: Request, owner: Owner, parts: PartsDep, name: str = "upload") -> Response:
    """Keep a file for a while: the raw body, or the one file of a multipart form."""
    with parts.storage.receive(_most_bytes(parts)) as incoming:
        if content_type(request) == "multipart/form-data":
            name = await _save_form(request, incoming, _most_bytes(parts))
        else:
            await save(request, incoming, _most_bytes(parts))
        kept = await run_in_threadpool(_keep, parts, incoming, owner, name)
    return as_json(
        Uploaded(url=kept.uri, sha256=kept.sha256, size=kept.size, expires_at=kept.expires_at)
    )


def _ranged(request: Request, file: Path, headers: dict[str, str]) -> Response:
    size = file.stat().st_size
    asked = request.headers.get("range", "")
    if asked and not _RANGE.fullmatch(asked):
        # RFC 9110, section 14.2: a Range that is not understood is ignored.
        headers_in = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
        request.scope["headers"] = headers_in
    elif asked and not _satisfiable(asked, size):
        headers |= {"Content-Range": f"bytes */{size}"}
        message = f"The file has {size} bytes; ask for some of those."
        return error_response(416, 416001, message, headers=headers)
    kind = CONTENT_TYPES.get(file.suffix.lower(), "application/octet-stream")
    return FileResponse(file, media_type=kind, headers=headers)


def _satisfiable(asked: str, size: int) -> bool:
    """Whether every range starts inside the file and none runs backwards."""
    ranges = [part.strip().partition("-") for part in asked.partition("=")[2].split(",")]
    return all(
        (int(first) < size and (not last or int(first) <= int(last)))
        if first
        else (int(last) > 0 and size > 0)
        for first, _, last in ranges
    )


async def _save_form(request: Request, incoming: Incoming, limit: int) -> str:
    """Write the form's only file, and answer its name."""
    # The parts around the file need room too.
    counted = limited(request, limit + PIECE)
    async with counted.form(max_files=1, max_fields=10) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            problem = "Send the file as a part with a file name, or as the raw body."
            raise invalid([FieldError(loc=["body", "file"], msg=problem, type="missing")])
        while piece := await files[0].read(PIECE):
            await run_in_threadpool(incoming.write, piece)
        return files[0].filename or "upload"


def _keep(parts: Parts, incoming: Incoming, owner: str, name: str) -> Upload:
    lifetime = timedelta(hours=parts.settings.upload_hours)
    return parts.storage.keep_upload(incoming, owner=owner, name=name[:255], lifetime=lifetime)


def _most_bytes(parts: Parts) -> int:
    """An upload may become any of these three."""
    limits = parts.settings
    return max(limits.max_video_bytes, limits.max_image_bytes, limits.max_lora_bytes)

"""Results to download and files to upload.

A result's URL needs no key: it holds 128 random bits, and its file never changes. So its ETag is
those bits. A browser may keep the file for a day; what stands between must not, since a request
can be deleted. The URL stays the same wherever files are kept: with an object store, the server
passes the bytes on, or leads to a URL of the store's that works for a while.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse

from rotoscope.errors import (
    BodyTooLargeError,
    ForbiddenError,
    InUseError,
    InvalidInputError,
    UnauthorizedError,
    UnavailableError,
    UnknownRequestError,
)
from rotoscope.schema.output import ErrorBody, Uploaded
from rotoscope.storage import Incoming, Stored, Upload, content_type_of
from rotoscope.web.answers import as_json
from rotoscope.web.auth import Owner, client_owner, scheme
from rotoscope.web.bodies import content_type, save
from rotoscope.web.errors import describe, error_response
from rotoscope.web.forms import save_form
from rotoscope.web.parts import Parts, PartsDep
from rotoscope.web.retention import held

_RANGE = re.compile(r"bytes=\s*(?:\d+-\d*|-\d+)(?:\s*,\s*(?:\d+-\d*|-\d+))*\s*", re.ASCII)

_NO_UPLOAD = "There is no such upload of yours, or it has expired."

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
    responses=describe(UnknownRequestError, UnavailableError)
    | {304: {}, 206: {}, 307: {}, 416: {}},
    include_in_schema=False,
)
def get_file(key: str, request: Request, parts: PartsDep) -> Response:
    """A result's file, whole or in ranges."""
    file = parts.storage.output(key)
    if file is None:
        raise UnknownRequestError("There is no such file, or it has expired.")
    if link := parts.storage.link(file, "HEAD" if request.method == "HEAD" else "GET"):
        return RedirectResponse(link, headers={"Cache-Control": "no-store"})
    headers = {
        "ETag": f'"{key.split("/")[-2]}"',
        "Cache-Control": "private, max-age=86400, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return send(request, file, parts, headers)


@router.post(
    "/v1/uploads",
    response_model=Uploaded,
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(
        UnauthorizedError, ForbiddenError, BodyTooLargeError, InvalidInputError, UnavailableError
    )
    | {400: {"model": ErrorBody, "description": "UnreadableForm"}},
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": _BYTES, "multipart/form-data": _FORM}
        }
    },
)
async def upload(request: Request, owner: Owner, parts: PartsDep, name: str = "upload") -> Response:
    """Keep a file for a while: the raw body, or the one file of a multipart form."""
    with parts.storage.receive(most_bytes(parts)) as incoming:
        if content_type(request) == "multipart/form-data":
            name = await save_form(request, incoming, most_bytes(parts))
        else:
            await save(request, incoming, most_bytes(parts))
        kept = await run_in_threadpool(_keep, parts, incoming, owner, name)
    return as_json(
        Uploaded(url=kept.uri, sha256=kept.sha256, size=kept.size, expires_at=kept.expires_at)
    )


@router.get(
    "/v1/uploads/{upload_id}",
    response_class=FileResponse,
    dependencies=[Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError, UnknownRequestError, UnavailableError)
    | {
        206: {"description": "The range that was asked for"},
        416: {"model": ErrorBody, "description": "No byte of the range is in the file"},
    },
)
def get_upload(upload_id: str, request: Request, owner: Owner, parts: PartsDep) -> Response:
    """The bytes of an upload of yours, whole or in ranges; never shown as a page."""
    _own(upload_id, owner, parts)
    file = parts.storage.upload_file(upload_id)
    if file is None:
        raise UnknownRequestError(_NO_UPLOAD)
    headers = {
        "Content-Disposition": "attachment",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    return send(request, file, parts, headers)


@router.delete(
    "/v1/uploads/{upload_id}",
    status_code=204,
    dependencies=[Depends(scheme)],
    responses=describe(
        UnauthorizedError, ForbiddenError, UnknownRequestError, InUseError, UnavailableError
    ),
)
def delete_upload(upload_id: str, owner: Owner, parts: PartsDep) -> Response:
    """Remove an upload now; left alone, it goes by itself when its time is over."""
    _own(upload_id, owner, parts)
    if held(upload_id, parts, datetime.now(UTC)):
        raise InUseError(
            "A request that is queued or running names this upload: cancel it, or wait for its end."
        )
    parts.storage.delete_upload(upload_id)
    return Response(status_code=204)


def _own(upload_id: str, owner: str, parts: Parts) -> None:
    """Raises UnknownRequestError for another's upload as for none."""
    found = parts.storage.upload(upload_id)
    if found is None or found.owner != owner:
        raise UnknownRequestError(_NO_UPLOAD)


def send(request: Request, file: Stored, parts: Parts, headers: dict[str, str]) -> Response:
    """A file, whole or in the ranges that were asked for, from this machine or a bucket."""
    asked = request.headers.get("range", "")
    if asked and not _RANGE.fullmatch(asked):
        # RFC 9110, section 14.2: a Range that is not understood is ignored.
        headers_in = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
        request.scope["headers"], asked = headers_in, ""
    elif asked and not _satisfiable(asked, file.size):
        headers |= {"Content-Range": f"bytes */{file.size}"}
        message = f"The file has {file.size} bytes; ask for some of those."
        return error_response(416, 416001, message, headers=headers)
    if file.path is not None:
        return FileResponse(file.path, media_type=content_type_of(file.key), headers=headers)
    if request.headers.get("if-range", headers.get("ETag")) != headers.get("ETag"):
        asked = ""
    return _passed_on(request, file, parts, headers, asked)


def _passed_on(
    request: Request, file: Stored, parts: Parts, headers: dict[str, str], asked: str
) -> Response:
    """A file out of a bucket, as it arrives. Of several ranges none is taken: all is sent."""
    start, stop = 0, file.size
    if asked and "," not in asked:
        start, stop = _span(asked, file.size)
        headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{file.size}"}
    headers |= {
        "Accept-Ranges": "bytes",
        "Content-Length": str(stop - start),
        "Last-Modified": format_datetime(file.modified, usegmt=True),
    }
    status = 206 if "Content-Range" in headers else 200
    kind = content_type_of(file.key)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=kind)
    content = parts.storage.read(file, start, stop)
    return StreamingResponse(content, status, headers, media_type=kind)


def _span(asked: str, size: int) -> tuple[int, int]:
    """Where a range that lies inside the file starts, and where it stops."""
    first, _, last = asked.partition("=")[2].strip().partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _satisfiable(asked: str, size: int) -> bool:
    """Whether every range starts inside the file and none runs backwards."""
    ranges = [part.strip().partition("-") for part in asked.partition("=")[2].split(",")]
    return all(
        (int(first) < size and (not last or int(first) <= int(last)))
        if first
        else (int(last) > 0 and size > 0)
        for first, _, last in ranges
    )


def _keep(parts: Parts, incoming: Incoming, owner: str, name: str) -> Upload:
    lifetime = timedelta(hours=parts.settings.upload_hours)
    return parts.storage.keep_upload(incoming, owner=owner, name=name[:255], lifetime=lifetime)


def most_bytes(parts: Parts) -> int:
    """An upload may become any of these three."""
    limits = parts.settings
    return max(limits.max_video_bytes, limits.max_image_bytes, limits.max_lora_bytes)

"""fal's storage as @fal-ai/client uses it: ask where a file goes, then put it there.

The URL to put it at needs no key, as at fal: it holds 128 random bits and takes one file.
"""

from datetime import timedelta

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rotoscope.errors import UnknownRequestError
from rotoscope.web.bodies import save
from rotoscope.web.fal import FalRoute, Owner
from rotoscope.web.files import most_bytes
from rotoscope.web.parts import PartsDep
from rotoscope.web.urls import base_url

router = APIRouter(prefix="/fal", route_class=FalRoute, include_in_schema=False)


class Announced(BaseModel):
    """What a client tells of a file; other members, such as its type, have no use here."""

    file_name: str = Field("upload", max_length=255)


@router.post("/storage/upload/initiate")
def initiate(request: Request, owner: Owner, file: Announced, parts: PartsDep) -> Response:
    """Where to put a file, and the URI that it will have."""
    lifetime = timedelta(hours=parts.settings.upload_hours)
    upload = parts.storage.promise_upload(owner=owner, name=file.file_name, lifetime=lifetime)
    url = f"{base_url(request, parts)}/fal/uploads/{upload.id}"
    return JSONResponse({"upload_url": url, "file_url": upload.uri})


@router.put("/uploads/{upload_id}")
async def put_file(upload_id: str, request: Request, parts: PartsDep) -> Response:
    """Take the file."""
    if await run_in_threadpool(parts.storage.upload, upload_id) is None:
        raise _unknown()
    limit = most_bytes(parts)
    with parts.storage.receive(limit) as incoming:
        await save(request, incoming, limit)
        kept = await run_in_threadpool(parts.storage.keep_promised, upload_id, incoming)
    if kept is None:
        raise _unknown()
    return JSONResponse({"size": kept.size, "sha256": kept.sha256})


@router.api_route("/storage/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
def nothing(path: str) -> Response:
    """Nothing else of fal's storage is here, such as uploads in parts."""
    raise UnknownRequestError(
        f"There is nothing at /storage/{path} here; POST /v1/uploads takes files of any size."
    )


def _unknown() -> UnknownRequestError:
    return UnknownRequestError("No upload waits for a file here: ask for a new URL.")

"""Request bodies: counted while they stream in, so that none fills the memory."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import Message

from rotoscope.errors import BodyTooLargeError, WrongContentTypeError
from rotoscope.storage import Incoming
from rotoscope.web.parts import PartsDep


def content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def limited(request: Request, limit: int) -> Request:
    """The same request, whose body raises BodyTooLargeError past `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    arrived = 0

    async def receive() -> Message:
        nonlocal arrived
        message = await request.receive()
        arrived += len(message.get("body", b""))
        if arrived > limit:
            raise _too_large(limit)
        return message

    return Request(request.scope, receive)


async def json_body(request: Request, parts: PartsDep) -> bytes:
    """The whole body, of a request that says it is JSON."""
    if content_type(request) != "application/json":
        raise WrongContentTypeError('Send JSON, with the header "Content-Type: application/json".')
    limit = parts.settings.max_body_bytes
    return b"".join([chunk async for chunk in limited(request, limit).stream()])


async def save(request: Request, incoming: Incoming, limit: int) -> None:
    """Write the raw body into a file on its way in."""
    async for chunk in limited(request, limit).stream():
        await run_in_threadpool(incoming.write, chunk)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than {limit:,} bytes, the most here.")


JsonBody = Annotated[bytes, Depends(json_body)]

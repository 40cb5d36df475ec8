"""The one file of a multipart form, written to its place as it comes in.

The usual form parsers collect files below /tmp first, which may be memory, and take a form that
breaks off for a whole one.
"""

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException

from rotoscope.schema.output import FieldError
from rotoscope.storage import Incoming
from rotoscope.web.bodies import limited
from rotoscope.web.errors import invalid

AROUND_IT = 1024 * 1024
"""Bytes that the parts around the file may take."""


async def save_form(request: Request, incoming: Incoming, limit: int) -> str:
    """Write the form's file, and answer its name.

    Raises:
        HTTPException: 400, the form is broken or holds more than one file.
        InvalidInputError: It holds no file.
        BodyTooLargeError: It is larger than `limit` bytes, or than the file's own limit.
    """
    form = _Form(_boundary(request), incoming)
    try:
        async for chunk in limited(request, limit + AROUND_IT).stream():
            await run_in_threadpool(form.write, chunk)
    except FormParserError as error:
        raise _broken(f"The form cannot be read: {error}") from error
    return form.file_name()


class _Form:
    """What the parser calls as it finds parts."""

    def __init__(self, boundary: bytes, incoming: Incoming) -> None:
        self._incoming = incoming
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._name: str | None = None
        self._in_file = False
        self._whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_to_header,
                "on_header_value": self._add_to_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def file_name(self) -> str:
        """The file's name, once all was written."""
        if not self._whole:
            raise _broken("The form breaks off before its closing boundary")
        if self._name is None:
            problem = "Send the file as a part with a file name, or as the raw body."
            raise invalid([FieldError(loc=["body", "file"], msg=problem, type="missing")])
        return self._name or "upload"

    def _begin(self) -> None:
        self._disposition, self._in_file = b"", False

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._in_file = b"filename" in options
        if not self._in_file:
            return
        if self._name is not None:
            raise _broken("The form holds more than one file; upload them one by one")
        self._name = options[b"filename"].decode(errors="replace")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._incoming.write(data[start:end])

    def _end(self) -> None:
        self._whole = True


def _boundary(request: Request) -> bytes:
    _, options = parse_options_header(request.headers["content-type"])
    if not options.get(b"boundary"):
        raise _broken("The form's content type names no boundary")
    return options[b"boundary"]


def _broken(problem: str) -> HTTPException:
    return HTTPException(400, problem)

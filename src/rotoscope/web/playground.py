"""GET /: the playground, a page to try the Model API with, shipped as playground/ builds it."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from rotoscope.errors import UnknownRequestError

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
# Videos may be https: a source that was named by its URL, or a result in an object store. The same
# holds for a GIF, which is a picture.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: https:; media-src 'self' blob: https:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Asked about each time, so that a page and its script are of one version.
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
def page(request: Request) -> Response:
    return playground_file("index.html", request)


@router.api_route("/playground/{name}", methods=["GET", "HEAD"])
def playground_file(name: str, request: Request) -> Response:
    if name not in _TYPES:
        raise UnknownRequestError("The playground has no such file.")
    content, tag = _read(name)
    headers = _HEADERS | {"ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_TYPES[name], headers=headers)


@cache
def _read(name: str) -> tuple[bytes, str]:
    """A file and its ETag."""
    content = (files("rotoscope.web") / "playground" / name).read_bytes()
    return content, f'"{sha256(content).hexdigest()[:32]}"'

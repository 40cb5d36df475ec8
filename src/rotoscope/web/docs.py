"""GET /docs: the API's reference as a page, from files of an installed package, no CDN needed."""

from importlib.resources import as_file, files

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse

from rotoscope.errors import UnknownRequestError

_FOLDER = "/docs/static"
_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs() -> Response:
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Rotoscope API",
        swagger_js_url=f"{_FOLDER}/swagger-ui-bundle.js",
        swagger_css_url=f"{_FOLDER}/swagger-ui.css",
        swagger_favicon_url=f"{_FOLDER}/favicon.png",
    )


@router.get(_FOLDER + "/{name}")
def docs_file(name: str) -> Response:
    if name not in _FILES:
        raise UnknownRequestError("The docs page has no such file.")
    with as_file(files("fastapi_offline") / "static" / name) as file:
        return FileResponse(file, media_type=_FILES[name])

"""Every error as {error_code, error_message, detail?}, whoever noticed it.

Rotoscope's own RequestErrors say their status and code themselves. What the framework refuses (an
unknown path, a method, a query that does not fit) gets codes that end in 009, so that none of them
can be taken for one of the documented codes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from rotoscope.errors import InvalidInputError, NotJsonError, RequestError
from rotoscope.schema.output import ErrorBody, FieldError

INTERNAL_ERROR_CODE = 500001

_SENTENCES = {
    404: "There is nothing at this path; /openapi.json lists what there is.",
    405: "This path does not take this method; the Allow header lists those it takes.",
}


def install(app: FastAPI) -> None:
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(HTTPException, _by_framework)


def describe(*errors: type[RequestError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route, for OpenAPI."""
    return {
        error.status: {"model": ErrorBody, "description": error.__name__.removesuffix("Error")}
        for error in errors
    }


def invalid(entries: Iterable[FieldError]) -> InvalidInputError:
    return InvalidInputError([entry.model_dump(exclude_unset=True) for entry in entries])


def error_response(
    status: int,
    code: int,
    message: str,
    *,
    detail: Iterable[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    facts: dict[str, Any] = {"error_code": code, "error_message": message}
    if detail is not None:
        facts["detail"] = [FieldError(**entry) for entry in detail]
    # An input may be anything, such as NaN or bytes: what JSON cannot hold becomes null or text.
    content = ErrorBody(**facts).model_dump_json(exclude_unset=True, fallback=str)
    return Response(content, status, headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101 - install() registered it for these
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:  # noqa: PLR2004 - RFC 9110: a 401 names its scheme
        headers["WWW-Authenticate"] = "Bearer"
    return error_response(
        error.status, error.error_code, str(error), detail=error.detail, headers=headers
    )


async def _misfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - install() registered it for these
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return await _refused(request, NotJsonError("The body is not JSON."))
    detail = [
        {name: problem[name] for name in ("loc", "msg", "type", "input") if name in problem}
        for problem in problems
    ]
    return await _refused(request, InvalidInputError(detail))


async def _by_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - install() registered it for these
    message = _SENTENCES.get(error.status_code, f"{error.detail}.")
    return error_response(
        error.status_code, error.status_code * 1000 + 9, message, headers=error.headers
    )

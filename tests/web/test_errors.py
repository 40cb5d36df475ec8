"""Every error has one shape, and an id to find it by."""

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from rotoscope.errors import RequestError
from tests.web.conftest import BODY, SUBMIT, Site


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ("GET /nothing", 404, 404009),
        ("GET /v1/nothing", 404, 404009),
        ("DELETE /v1/models", 405, 405009),
        ("GET /v1/models?limit=0", 422, 422001),
        ("GET /v1/models?limit=x", 422, 422001),
    ],
)
def test_what_the_framework_refuses_has_the_same_shape(
    site: Site, call: str, status: int, code: int
) -> None:
    """Unknown paths, methods and queries are answered as every other error."""
    method, path = call.split()
    answer = site.http.request(method, path, headers=site.client)
    found = answer.json()
    assert (answer.status_code, found["error_code"]) == (status, code)
    assert set(found) <= {"error_code", "error_message", "detail"}
    assert found["error_message"].endswith(".")


def test_a_wrong_method_says_which_are_right(site: Site) -> None:
    """A 405 keeps its Allow header."""
    assert "GET" in site.http.delete("/v1/models").headers["Allow"]


def test_every_answer_has_its_own_id(site: Site) -> None:
    """Good and bad answers alike carry an id, never the same twice."""
    paths = ["/healthz", "/nothing", "/v1/models"]
    ids = [site.http.get(path).headers["X-Request-Id"] for path in paths]
    assert len(set(ids)) == len(paths)


def test_an_unforeseen_error_tells_nothing_internal(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer holds the id, the log holds the reason, and the server serves on."""

    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(site.parts.store, "waiting", broken)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        answer = site.http.post(SUBMIT, json=BODY, headers=site.client)

    assert (answer.status_code, answer.json()["error_code"]) == (500, 500001)
    assert answer.headers["X-Request-Id"] in answer.json()["error_message"]
    assert "hunter2" not in answer.text
    [line] = [line for line in logs if line["event"] == "request_failed"]
    assert line["http_request_id"] == answer.headers["X-Request-Id"]
    monkeypatch.undo()
    site.submit()


def test_codes_and_statuses_are_the_documented_ones() -> None:
    """The table of the contract, line by line."""
    assert {
        (leaf.__name__, leaf.status, leaf.error_code) for leaf in RequestError.__subclasses__()
    } == {
        ("UnauthorizedError", 401, 400004),
        ("ForbiddenError", 403, 403001),
        ("UnknownRequestError", 404, 404001),
        ("UnknownModelError", 404, 400001),
        ("NotJsonError", 400, 422001),
        ("InvalidInputError", 422, 422001),
        ("BodyTooLargeError", 413, 413001),
        ("WrongContentTypeError", 415, 415001),
        ("ConflictError", 409, 409001),
        ("InUseError", 409, 409002),
        ("IdempotencyConflictError", 409, 409003),
        ("TooManyRequestsError", 429, 429001),
        ("UnavailableError", 503, 503001),
    }


def test_an_unusable_store_is_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness fails when the job table does not answer; liveness does not."""
    ready = site.http.get("/readyz?workers=0")
    assert ready.json() == {"status": "ready", "workers": 0}

    def broken() -> int:
        raise OSError("disk gone")

    monkeypatch.setattr(site.parts.store, "ping", broken)
    answer = site.http.get("/readyz?workers=0")
    assert answer.status_code == 503
    assert "job table" in answer.text
    assert "disk gone" not in answer.text
    assert site.http.get("/healthz").json() == {"status": "ok"}

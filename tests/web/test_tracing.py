"""Each request is counted once, under its route and not its path; log lines name the job."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from rotoscope import telemetry
from rotoscope.web.tracing import Tracing
from tests.web.conftest import Site

Seen = list[tuple[str, str, int]]


def answer(request: Request) -> Response:
    telemetry.logger().info("looked")
    if "broken" in request.path_params["request_id"]:
        raise RuntimeError("broken")
    return PlainTextResponse("fine", 202)


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture
def http(seen: Seen) -> Iterator[TestClient]:
    def answered(method: str, route: str, status: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        seen.append((method, route, status))

    app = Starlette(routes=[Route("/v1/requests/{request_id}/status", answer, methods=["GET"])])
    with TestClient(Tracing(app, answered), raise_server_exceptions=False) as client:
        yield client


def test_an_answer_is_counted_with_its_status(http: TestClient, seen: Seen) -> None:
    assert http.get("/v1/requests/job-1/status").status_code == 202
    assert http.post("/v1/requests/job-1/status").status_code == 405
    assert http.request("BREW", "/nowhere").status_code == 404

    assert [(method, status) for method, _, status in seen] == [
        ("GET", 202), ("POST", 405), ("OTHER", 404),
    ]  # fmt: skip


def test_a_failure_is_counted_as_one(http: TestClient, seen: Seen) -> None:
    assert http.get("/v1/requests/broken/status").status_code == 500

    assert [status for _, _, status in seen] == [500]


def test_lines_of_a_request_name_its_job(http: TestClient) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        http.get("/v1/requests/job-1/status")

    (line,) = [line for line in lines if line["event"] == "looked"]
    assert line["request_id"] == "job-1"
    assert line["http_request_id"]


def test_the_whole_application_logs_the_job_of_a_workers_call(site: Site) -> None:
    """Also in the thread that the route runs in."""
    job_id = site.submit()
    job = site.claim()
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        assert site.tell(job, "release") == 204

    found: list[Any] = [line for line in lines if line.get("event") == "job_released"]
    assert [line["request_id"] for line in found] == [job_id]

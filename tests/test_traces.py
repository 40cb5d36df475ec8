"""The spans of one job make one trace, whichever process wrote them; without the extra, nothing."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest
import uuid_utils
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rotoscope import traces
from rotoscope.errors import VideoTooShortError
from rotoscope.settings import Settings
from rotoscope.worker import loop
from rotoscope.worker.progress import Report
from rotoscope.worker.run import Bench
from rotoscope.worker.stop import Stop
from tests.web.conftest import running
from tests.worker.stand_in_model import StandIn
from tests.worker.stand_ins import Server, make_job

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    traces.use("test", SimpleSpanProcessor(exporter))
    yield exporter
    traces.close()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def tell_all(job_id: str) -> None:
    with traces.submitting() as made:
        made.job_id = job_id
    traces.queued(job_id, AT, AT + timedelta(seconds=2))
    seconds = {"fetch": 1.0, "denoise": 3.0, "total": 4.5}
    traces.attempted(job_id, 1, "gpu-0", seconds)
    traces.ended(job_id, "failed", AT, AT + timedelta(seconds=9), "out_of_memory")


def test_all_spans_of_a_job_are_in_the_trace_that_its_id_names(spans: InMemorySpanExporter) -> None:
    job_id = str(uuid_utils.uuid7())

    tell_all(job_id)

    found = by_name(spans)
    assert set(found) == {"submit", "queue", "fetch", "denoise", "attempt", "end", "job"}
    assert {span.context.trace_id for span in found.values()} == {UUID(job_id).int}
    assert found["job"].parent is None
    for name in ("submit", "queue", "attempt", "end"):
        assert found[name].parent.span_id == found["job"].context.span_id, name
    for name in ("fetch", "denoise"):
        assert found[name].parent.span_id == found["attempt"].context.span_id, name


def test_the_times_are_those_of_the_job(spans: InMemorySpanExporter) -> None:
    tell_all(str(uuid_utils.uuid7()))

    found = by_name(spans)
    assert took_s(found["job"]) == 9
    assert took_s(found["queue"]) == 2
    assert took_s(found["denoise"]) == 3
    assert took_s(found["attempt"]) == 4.5
    assert found["denoise"].start_time == found["fetch"].end_time
    assert found["job"].attributes["rotoscope.code"] == "out_of_memory"
    assert found["attempt"].attributes["rotoscope.worker"] == "gpu-0"


def took_s(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_another_process_writes_into_the_same_trace(spans: InMemorySpanExporter) -> None:
    """What a server ends that did not see the submit has the ids that the worker's spans name."""
    job_id = str(uuid_utils.uuid7())
    traces.attempted(job_id, 1, "gpu-0", {"total": 1.0})
    traces.close()
    later = InMemorySpanExporter()
    traces.use("other", SimpleSpanProcessor(later))

    traces.ended(job_id, "succeeded", AT, AT, "")

    attempt, root = by_name(spans)["attempt"], by_name(later)["job"]
    assert attempt.parent.span_id == root.context.span_id
    assert attempt.context.trace_id == root.context.trace_id


def test_two_attempts_are_two_spans(spans: InMemorySpanExporter) -> None:
    job_id = str(uuid_utils.uuid7())
    for attempt in (1, 2):
        traces.attempted(job_id, attempt, "gpu-0", {"total": 1.0})

    assert len({span.context.span_id for span in spans.get_finished_spans()}) == 2


def test_without_a_place_for_traces_nothing_is_loaded() -> None:
    """No cost where nobody asked: not even the import of OpenTelemetry."""
    script = (
        "import sys; from rotoscope import traces; from datetime import datetime as d\n"
        "assert not traces.configure('x'); traces.ended('1', 's', d.now(), d.now(), '')\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={}, timeout=60)


def test_without_the_extra_the_answer_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    assert not traces.configure("server")


def test_a_request_over_http_is_one_trace(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    """From its submit over two attempts, the first of which was lost, to its end."""
    with running(tmp_path) as site:
        job_id = site.submit()
        site.claim()
        site.clock.now += 61
        site.parts.store.reap()
        site.finish(site.claim())

    found = spans.get_finished_spans()
    assert sorted(span.name for span in found) == ["end", "job", "queue", "submit"]
    assert {span.context.trace_id for span in found} == {UUID(job_id).int}
    assert by_name(spans)["job"].attributes["rotoscope.state"] == "succeeded"


def test_what_a_worker_did_is_in_the_trace(
    tmp_path: Path, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stages as far as they came, also where the job failed."""

    def breaks(job: object, bench: object, folder: Path, report: Report) -> None:
        report.begin("fetch")
        report.begin("read")
        raise VideoTooShortError("It has no frame.")

    monkeypatch.setattr(loop, "run", breaks)
    job = make_job().model_copy(update={"request_id": str(uuid_utils.uuid7())})
    stop = Stop()
    with Server().connect(stop.event) as api:
        bench = Bench(StandIn(tmp_path / "gate"), api, Settings(data_dir=tmp_path))
        loop.do_job(job, bench, tmp_path, stop)

    found = by_name(spans)
    assert set(found) == {"fetch", "read", "attempt"}
    assert found["attempt"].context.trace_id == UUID(job.request_id).int
    assert found["read"].parent.span_id == found["attempt"].context.span_id


def test_spans_are_sent_to_the_place_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By OTLP over HTTP, at the latest when the process ends."""
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    job_id = str(uuid_utils.uuid7())
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", place)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "restyling")
        with traces.sending("rotoscope-server"):
            tell_all(job_id)
        server.shutdown()

    sent = [
        (span.trace_id, span.name)
        for body in bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {trace_id for trace_id, _ in sent} == {UUID(job_id).bytes}
    assert sorted(name for _, name in sent) == sorted(
        ["submit", "queue", "fetch", "denoise", "attempt", "end", "job"]
    )
    assert b"restyling" in b"".join(bodies)

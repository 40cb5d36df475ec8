"""The spans of one job make one trace, whichever process wrote them; without the extra, nothing."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import uuid_utils
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rotoscope import traces

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

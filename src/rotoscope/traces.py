"""One trace for each job, from its submit to its end, whichever processes had a hand in it.

Nothing has to be carried along: the trace's id is the request id, without its dashes, and the id
of the span that stands for the whole job is made from it too. So a server that was started after
the submit, or another one, and the worker add their spans to the same trace:

    job                       from submit to end
    ├── submit                the HTTP call
    ├── queue                 until the first attempt
    ├── attempt               each one, on its worker
    │   └── fetch, read, ...  the stages, as in the result's metrics
    └── end                   the outcome is written

Traces are sent when the extra is there (`pip install rotoscope[traces]`) and the environment says
where to, by OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT. Otherwise every function here returns
at once.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Value = str | int | float | bool

_provider: "TracerProvider | None" = None
_chosen: ContextVar[tuple[int, int] | None] = ContextVar("chosen", default=None)
"""The ids of the trace and of the span that is made next, where they are not by chance."""


def wanted() -> bool:
    """Whether the environment names a place for traces."""
    return any(os.environ.get(name) for name in ENDPOINTS)


@contextmanager
def sending(service: str) -> Iterator[None]:
    """Send traces until the block ends, where they are wanted."""
    configure(service)
    try:
        yield
    finally:
        close()


def configure(service: str) -> bool:
    """Send traces from now on, as `service` unless OTEL_SERVICE_NAME says otherwise.

    Returns:
        Whether they are wanted and the extra is there.
    """
    if not wanted():
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        return False
    use(service, BatchSpanProcessor(OTLPSpanExporter()))
    return True


def use(service: str, processor: Any) -> None:
    """Hand spans to `processor`, one of OpenTelemetry's."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            chosen = _chosen.get()
            return chosen[0] if chosen else int(super().generate_trace_id())

        def generate_span_id(self) -> int:
            chosen = _chosen.get()
            return chosen[1] if chosen else int(super().generate_span_id())

    global _provider  # noqa: PLW0603 - one for the process, as the logger is
    name = os.environ.get("OTEL_SERVICE_NAME", service)
    _provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: name}),
        id_generator=Ids(),
        # Some dozen spans for minutes of a GPU; a collector can still leave traces out.
        sampler=ALWAYS_ON,
        shutdown_on_exit=False,
    )
    _provider.add_span_processor(processor)


def close() -> None:
    """Send what waits to be sent, and no more."""
    global _provider  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
    _provider = None


@contextmanager
def submitting() -> Iterator["Submitting"]:
    """Around the making of a job, whose id is known only inside: set it on what this gives."""
    made = Submitting()
    started_ns = time.time_ns()
    yield made
    if made.job_id is not None:
        _write("submit", made.job_id, started_ns, time.time_ns())


class Submitting:
    job_id: str | None = None


def queued(job_id: str, since: datetime, until: datetime) -> None:
    """The job waited, and its first attempt has begun."""
    _write("queue", job_id, _ns(since), _ns(until))


def attempted(job_id: str, attempt: int, worker: str, seconds: Mapping[str, float]) -> None:
    """A worker's attempt ends now; `seconds` are of its stages in their order, and `total`."""
    if _provider is None:
        return
    now = time.time_ns()
    start = at = now - int(seconds.get("total", 0.0) * 1e9)
    own = _span_id(f"{job_id}/{attempt}")
    for stage, took_s in seconds.items():
        if stage != "total":
            end = at + int(took_s * 1e9)
            _write(stage, job_id, at, end, parent=own)
            at = end
    facts: Mapping[str, Value] = {"attempt": attempt, "worker": worker}
    _write("attempt", job_id, start, now, facts, own=own)


def ended(job_id: str, state: str, submitted_at: datetime, ended_at: datetime, code: str) -> None:
    """The job is over; `code` is of its failure, or empty."""
    facts: Mapping[str, Value] = {"state": state} | ({"code": code} if code else {})
    start, end, root = _ns(submitted_at), _ns(ended_at), _span_id(job_id)
    _write("end", job_id, end, time.time_ns(), facts)
    _write("job", job_id, start, end, facts, own=root, parent=0)


def _write(  # noqa: PLR0913, PLR0917 - what a span is made of
    name: str,
    job_id: str,
    start_ns: int,
    end_ns: int,
    facts: Mapping[str, Value] | None = None,
    own: int | None = None,
    parent: int | None = None,
) -> None:
    """One span that is over; `parent` is the whole job's unless told otherwise."""
    if _provider is None:
        return
    token = _chosen.set(None if own is None else (UUID(job_id).int, own))
    try:
        span = _provider.get_tracer("rotoscope").start_span(
            name,
            context=_context(job_id, _span_id(job_id) if parent is None else parent),
            attributes={"rotoscope.request_id": job_id}
            | {f"rotoscope.{key}": value for key, value in (facts or {}).items()},
            start_time=start_ns,
        )
    finally:
        _chosen.reset(token)
    span.end(end_time=max(start_ns, end_ns))


def _context(job_id: str, parent: int) -> "Context":
    from opentelemetry.trace import (  # noqa: PLC0415
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    flags = TraceFlags(TraceFlags.SAMPLED)
    context = SpanContext(UUID(job_id).int, parent, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context))


def _span_id(text: str) -> int:
    """Eight bytes that are the same in every process; 0 would mean none."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) or 1


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)

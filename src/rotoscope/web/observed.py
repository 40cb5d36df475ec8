"""A job store that tells metrics and traces what happens to jobs, whichever route it came by."""

from collections import deque
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, cast

from rotoscope import traces
from rotoscope.jobs.job import Job, Lease, State
from rotoscope.jobs.store import DEFAULT_POOL, JobStore, NewJob, Submission
from rotoscope.schema.output import Adjustment, Failure, Outcome
from rotoscope.web.metrics import Metrics

REMEMBERED = 1000

Warned = tuple[Adjustment, ...] | None


def observed(store: JobStore, metrics: Metrics) -> JobStore:
    """`store`, with `metrics` and the traces told of each change."""
    return cast("JobStore", _Observed(store, metrics))


class _Observed:
    """Passes every verb on; those that begin or end a job are told of afterwards."""

    def __init__(self, store: JobStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._lock = Lock()
        # A worker repeats a call whose answer was lost.
        self._ended: deque[str] = deque(maxlen=REMEMBERED)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def submit(self, new: NewJob) -> Submission:
        with traces.submitting() as made:
            submission = self._store.submit(new)
            if not submission.replayed:
                made.job_id = submission.job.id
                self._metrics.job_submitted(submission.job.model_id)
        return submission

    def claim(
        self,
        worker_id: str,
        *,
        pool: str = DEFAULT_POOL,
        loaded: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
    ) -> Lease | None:
        lease = self._store.claim(worker_id, pool=pool, loaded=loaded, limits=limits)
        if lease and lease.job.attempt == 1 and lease.job.started_at:
            traces.queued(lease.job.id, lease.job.created_at, lease.job.started_at)
        return lease

    def succeed(self, job_id: str, token: str, outcome: Outcome, warnings: Warned = None) -> bool:
        return self._told(job_id, self._store.succeed(job_id, token, outcome, warnings))

    def fail(self, job_id: str, token: str, failure: Failure, warnings: Warned = None) -> bool:
        return self._told(job_id, self._store.fail(job_id, token, failure, warnings))

    def release(self, job_id: str, token: str) -> bool:
        return self._told(job_id, self._store.release(job_id, token))

    def stop(self, job_id: str, token: str) -> bool:
        return self._told(job_id, self._store.stop(job_id, token))

    def cancel(self, job_id: str, *, running: bool = False) -> Job | None:
        before = self._store.get(job_id)
        after = self._store.cancel(job_id, running=running)
        if after and before and not before.ended:
            self._tell(after)
        return after

    def reap(self) -> Sequence[Job]:
        reaped = self._store.reap()
        for job in reaped:
            if job.attempt:
                self._metrics.job_lost()
            self._tell(job)
        return reaped

    def _told(self, job_id: str, done: bool) -> bool:  # noqa: FBT001 - the store's own answer
        job = self._store.get(job_id) if done else None
        if job:
            self._tell(job)
        return done

    def _tell(self, job: Job) -> None:
        """Of a job that has ended, once."""
        if not job.ended or job.finished_at is None or not self._first_time(job.id):
            return
        code = job.failure.code if job.failure else ""
        seconds = job.outcome.metrics if job.outcome and job.state is State.SUCCEEDED else None
        self._metrics.job_ended(job.state, code, seconds)
        traces.ended(job.id, job.state.value, job.created_at, job.finished_at, code)

    def _first_time(self, job_id: str) -> bool:
        with self._lock:
            if job_id in self._ended:
                return False
            self._ended.append(job_id)
            return True

"""The verbs of the job table, whichever database keeps it.

Every change is one guarded statement; a verb that finds its guard broken changes nothing and says
so by its answer. Times are the database's. Safe to call from any thread.
"""

from typing import Protocol

from rotoscope.jobs.job import Job, Lease
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress

MOST_PLACES = 1000
"""Positions are exact up to here; this one means "so many or more"."""


class JobStore(Protocol):
    def submit(
        self,
        model_id: str,
        key_id: str,
        job_input: VideoToVideoInput,
        warnings: tuple[Adjustment, ...] = (),
    ) -> Job:
        """Queue a job; it is on disk when this returns."""

    def get(self, job_id: str) -> Job | None: ...

    def position(self, job_id: str) -> int | None:
        """Place in the queue, 1 is next; None when the job is not queued."""

    def waiting(self) -> int:
        """How many jobs are queued."""

    def claim(self, worker_id: str) -> Lease | None:
        """Take the oldest queued job; None when there is none."""

    def heartbeat(
        self,
        job_id: str,
        token: str,
        progress: Progress | None = None,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        """Prolong a lease and note how far the job is; False when the lease is lost."""

    def succeed(
        self,
        job_id: str,
        token: str,
        outcome: Outcome,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        """End a job well; True again when repeated, False when the lease is lost."""

    def fail(
        self,
        job_id: str,
        token: str,
        failure: Failure,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        """End a job badly; True again when repeated, False when the lease is lost."""

    def release(self, job_id: str, token: str) -> bool:
        """Hand a job back to its old place, its attempt not counted.

        True again when repeated before the next claim, False when the lease is lost.
        """

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that is still queued; False when it is not."""

    def reap(self) -> list[Job]:
        """Queue or fail the jobs whose lease ran out, and say which."""

    def close(self) -> None: ...

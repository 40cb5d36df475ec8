"""The verbs of the job table, whichever database keeps it.

Every change is one guarded statement; a verb that finds its guard broken changes nothing and says
so by its answer. Times are the database's. Safe to call from any thread; every verb raises
`DatabaseAwayError` where the database is a server that does not answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal, Protocol

import uuid_utils

from rotoscope.jobs.job import Job, Lease, State
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress

MOST_PLACES = 1000
"""Positions are exact up to here; this one means "so many or more"."""
IDEMPOTENCY_S = 24 * 3600.0
"""How long an idempotency key stands for its first job."""
AFFINITY_WINDOW = 4.0
"""Turns of a key that a job may be ahead of the first one and still be taken before it."""
MOST_PASSED_OVER = 32
"""How often the first job may be passed over for one whose LoRAs are loaded."""
SWEEP_LEASE_S = 60.0
"""How long expired jobs belong to the sweeper that took them."""
DEFAULT_POOL = "default"
NORMAL, LOW = 0, -1

EventWord = Literal[
    "request.started",
    "request.progress",
    "request.succeeded",
    "request.failed",
    "request.cancelled",
]
DeliveryState = Literal["waiting", "sending", "delivered", "failed"]


def new_id() -> str:
    """An id for a job or a delivery; later ones sort later."""
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's word that requests with the same key are the same request."""

    key: str
    fingerprint: str
    """SHA-256 of the canonical body: the same key with another one is refused."""


@dataclass(frozen=True, slots=True)
class Webhook:
    url: str
    events: Literal["end", "all"] = "end"
    """Only how it ended, or its start and its progress too."""
    base_url: str = ""
    """The base of the URLs in what is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What a submit hands to the store."""

    model_id: str
    key_id: str
    """The key's owner."""
    input: VideoToVideoInput
    warnings: tuple[Adjustment, ...] = ()
    pool: str = DEFAULT_POOL
    priority: int = NORMAL
    """0 is normal; -1 is low: claimed only when nothing normal can be."""
    weight: float = 1.0
    """Share of this key beside others, above 0; 2 gets two turns where 1 gets one."""
    affinity: str = ""
    """Hash of the LoRA set; equal ones are cheap to run one after another."""
    idempotency: Idempotency | None = None
    start_within_s: float | None = None
    """Seconds after which a job that no worker has claimed is cancelled."""
    webhook: Webhook | None = None
    id: str = field(default_factory=new_id)
    """Made here, so that a submit whose answer was lost can be sent again."""


@dataclass(frozen=True, slots=True)
class Submission:
    job: Job
    replayed: bool
    """The job was there already, by its idempotency key."""


class Beat(Enum):
    """What a heartbeat is answered."""

    HELD = "held"
    CANCELLING = "cancelling"
    """Held, but a cancel was asked for: stop, and say so by `stop`."""
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook to one receiver, and how far it came."""

    id: str
    """The receiver sees the same at every attempt."""
    job_id: str
    key_id: str
    event: EventWord
    url: str
    base_url: str
    attempt: int
    """Times that it was taken to be sent."""
    state: DeliveryState
    next_at: datetime
    """When it is due, or while it is sent, when it counts as unsent again."""
    last_status: int | None
    last_note: str
    created_at: datetime
    done_at: datetime | None
    token: str
    """Of the last one who took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Jobs and workers that are kept apart from others."""

    name: str
    paused: bool
    queued: int
    oldest_s: float | None
    """How long the longest waiting job waits; None when none does."""
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    worker_id: str
    pool: str
    facts: Mapping[str, Any]
    """What it told about itself."""
    seen_at: datetime


class JobStore(Protocol):
    # Submit and look

    def submit(self, new: NewJob) -> Submission:
        """Queue a job; it is on disk when this returns.

        Raises:
            IdempotencyConflictError: The idempotency key stands for another body.
        """

    def replay(self, key_id: str, asked: Idempotency) -> Job | None:
        """The job that an idempotency key stands for, if it does.

        Raises:
            IdempotencyConflictError: It stands for another body.
        """

    def get(self, job_id: str) -> Job | None: ...

    def position(self, job_id: str) -> int | None:
        """Place in its pool's queue, 1 is next; None when the job is not queued."""

    def waiting(self, pool: str | None = None, *, most: int | None = None) -> int:
        """How many jobs are queued, in one pool or in all; counting stops at `most`."""

    def list(
        self, key_id: str, *, state: State | None = None, before: int | None = None, limit: int
    ) -> Sequence[Job]:
        """The jobs of a key, newest first; those with a smaller `seq` than `before`."""

    def submitted_since(self, key_id: str, seconds: float) -> int:
        """How many jobs this key submitted within the last `seconds`."""

    def queued_of(self, key_id: str) -> int:
        """How many jobs of this key are queued."""

    # Work

    def claim(
        self,
        worker_id: str,
        *,
        pool: str = DEFAULT_POOL,
        loaded: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
    ) -> Lease | None:
        """Take the job whose turn it is; None when there is none, or the pool is paused.

        Normal priority comes before low, and within one priority the keys take turns. A job whose
        affinity is one of `loaded` comes before the first by at most `AFFINITY_WINDOW` turns.

        Args:
            worker_id: Who claims.
            pool: Where.
            loaded: Affinities that the worker holds.
            limits: The most running jobs of a key in this pool, where not the store's default.
        """

    def heartbeat(
        self,
        job_id: str,
        token: str,
        progress: Progress | None = None,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> Beat:
        """Prolong a lease and note how far the job is."""

    def succeed(
        self,
        job_id: str,
        token: str,
        outcome: Outcome,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        """End a job well; True again when repeated, False when the lease is lost.

        Where a cancel was asked for, the job ends as cancelled, without the outcome, and this says
        True: the worker's part is over. `fail` and `release` do the same.
        """

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

    def stop(self, job_id: str, token: str) -> bool:
        """End a job as cancelled, as was asked; True again when repeated, False otherwise."""

    def cancel(self, job_id: str, *, running: bool = False) -> Job | None:
        """Cancel a queued job; with `running`, ask the worker of a running one to stop.

        Answers the job as it is afterwards, None when there is none. Asked of a running job,
        `cancel_asked` is set and the job stays in progress until its worker stops or is lost.
        """

    def reap(self) -> Sequence[Job]:
        """Queue or end the jobs whose lease ran out, cancel those that did not start in time."""

    # Retention

    def take_expired(self, limit: int) -> Sequence[Job]:
        """Ended jobs whose time is over; they are this caller's alone for a minute."""

    def forget(self, job_id: str) -> bool:
        """Remove an ended job's row, input and deliveries; False while it is queued or running."""

    def job_exists(self, ids: Sequence[str]) -> set[str]:
        """Which of these jobs have a row."""

    # Outbox

    def take_delivery(self, lease_s: float) -> Delivery | None:
        """The webhook that is due longest; if not settled in `lease_s` it is due again."""

    def settle_delivery(  # noqa: PLR0913 - one fact each
        self,
        delivery_id: str,
        token: str,
        *,
        done: bool,
        next_in_s: float | None,
        status: int | None,
        note: str,
    ) -> bool:
        """Note an attempt: delivered, or due again in `next_in_s`, or given up where that is None.

        False when another sender has taken it in the meantime.
        """

    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        """Every webhook of a job, the oldest first."""

    def redeliver(self, delivery_id: str) -> bool:
        """Make a webhook due now, whatever came of it; False while it is being sent."""

    # Operation

    def pause(self, pool: str) -> None:
        """Hand out no more jobs of a pool; running ones go on."""

    def resume(self, pool: str) -> None: ...

    def pools(self) -> Sequence[Pool]:
        """Every pool that ever had a job or a pause, by name. Reads the whole queue."""

    def counts(self) -> Mapping[State, int]:
        """How many jobs there are in each state. Reads the whole table."""

    def seen(self, worker_id: str, pool: str, facts: Mapping[str, Any]) -> None:
        """Note that a worker is alive, and what it tells about itself (JSON values)."""

    def workers(self, within_s: float) -> Sequence[WorkerSeen]:
        """The workers that were seen within the last `within_s`, by id."""

    def ping(self) -> None:
        """Return if the database answers."""

    def close(self) -> None: ...

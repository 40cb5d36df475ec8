"""One job, and the only ways it may change.

  submit             claim                 succeed
 ────────▶ in_queue ────────▶ in_progress ─────────▶ succeeded
            │    ▲               │  │ │      fail
            │    ├── release ────┘  │ └────────────▶ failed
            │    └── reap ──────────┤                  ▲
          cancel   (lease ran out,  ├── reap ──────────┘
          or reap   attempts left)  │  (lease ran out, no attempt left: worker_lost)
     (not started in time)          │
            ▼                       │ where a cancel was asked for:
        cancelled ◀─────────────────┘ stop, succeed, fail, release or reap

A worker holds a job by a lease: it must send heartbeats, and the token of its claim goes with
every one of its calls, so that a worker given up for lost can no longer change anything.
The words used on the wire differ per route; schema/output.py translates.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress


class State(StrEnum):
    IN_QUEUE = "in_queue"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.IN_QUEUE: frozenset({State.IN_PROGRESS, State.CANCELLED}),
    State.IN_PROGRESS: frozenset({State.SUCCEEDED, State.FAILED, State.IN_QUEUE, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row of the jobs table, read back after each change and never edited here."""

    id: str
    seq: int
    """Grows with each submit; newer jobs have larger ones."""
    model_id: str
    key_id: str
    """The owner of the key that submitted it."""
    pool: str = "default"
    priority: int = 0
    """0 is normal, -1 is low."""
    state: State
    version: int
    """One more at every change that a client can see."""
    cancel_asked: bool = False
    """A worker runs it, and was or will be told to stop."""
    attempt: int
    """Claims so far, less those that were released."""
    created_at: datetime
    start_by: datetime | None = None
    """Cancelled if no worker has claimed it by then."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    """When it is forgotten; set when it ends, None where nothing is ever forgotten."""
    progress: Progress | None = None
    warnings: tuple[Adjustment, ...] = ()
    outcome: Outcome | None = None
    """What a succeeded job made."""
    failure: Failure | None = None
    """Why a failed job failed, or why a cancelled one was if no one asked for it."""

    @property
    def ended(self) -> bool:
        return not TRANSITIONS[self.state]


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed job, and what only the worker that claimed it is told."""

    job: Job
    token: str
    input: VideoToVideoInput

"""One job, and the only ways it may change.

  submit             claim                 succeed
 ────────▶ in_queue ────────▶ in_progress ─────────▶ succeeded
            │    ▲               │  │ │      fail
            │    ├── release ────┘  │ └────────────▶ failed
            │    └── reap ──────────┤                  ▲
          cancel   (lease ran out,  └── reap ──────────┘
            ▼       attempts left)     (lease ran out, no attempt left: worker_lost)
        cancelled

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
    State.IN_PROGRESS: frozenset({State.SUCCEEDED, State.FAILED, State.IN_QUEUE}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row of the jobs table, read back after each change and never edited here."""

    id: str
    model_id: str
    key_id: str
    state: State
    attempt: int
    """Claims so far, less those that were released."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress | None = None
    warnings: tuple[Adjustment, ...] = ()
    outcome: Outcome | None = None
    """What a succeeded job made."""
    failure: Failure | None = None
    """Why a failed job failed."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed job, and what only the worker that claimed it is told."""

    job: Job
    token: str
    input: VideoToVideoInput

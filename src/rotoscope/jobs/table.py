"""The verbs of jobs/store.py as statements, on whichever database."""

import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Self

import uuid_utils

from rotoscope.errors import DeadlineExceededError, IdempotencyConflictError, WorkerLostError
from rotoscope.jobs.database import Database, Run
from rotoscope.jobs.job import Job, Lease, State
from rotoscope.jobs.rows import Row, dump_all, read_job
from rotoscope.jobs.store import (
    AFFINITY_WINDOW,
    DEFAULT_POOL,
    IDEMPOTENCY_S,
    MOST_PASSED_OVER,
    MOST_PLACES,
    Beat,
    EventWord,
    Idempotency,
    NewJob,
    Submission,
    new_id,
)
from rotoscope.jobs.upkeep import Upkeep
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress

Values = Mapping[str, Any]

NO_LIMIT = 2**62
WEEK_S = 7 * 24 * 3600.0

WORKER_LOST = Failure(
    code=WorkerLostError.code,
    message="The worker stopped answering on every attempt; submit the request again.",
    retryable=WorkerLostError.usually_retryable,
)
DEADLINE_EXCEEDED = Failure(
    code=DeadlineExceededError.code,
    message="No worker was free before the deadline that the request set; submit it again.",
    retryable=DeadlineExceededError.usually_retryable,
)
END_EVENTS: Mapping[State, EventWord] = {
    State.SUCCEEDED: "request.succeeded",
    State.FAILED: "request.failed",
    State.CANCELLED: "request.cancelled",
}


class JobTable(Upkeep):
    """Every verb but those of Upkeep.

    Args:
        database: Where the tables are.
        lease_s: Seconds without a heartbeat until a job is lost.
        max_attempts: Attempts before a lost job is failed, of jobs submitted here.
        retention_s: Seconds from a job's end until it expires; None is never.
        default_limit: Most running jobs of a key in a pool; None is any number.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float,
        max_attempts: int,
        retention_s: float | None,
        default_limit: int | None,
    ) -> None:
        super().__init__(database)
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._retention_s = retention_s
        self._default_limit = NO_LIMIT if default_limit is None else default_limit
        self._opened_at = database.read("now")[0]["now"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, new: NewJob) -> Submission:
        while True:
            done = self._database.transact(lambda run: self._submit(new, run))
            # None: the job whose idempotency key was in the way was just forgotten.
            if done:
                return done

    def replay(self, key_id: str, asked: Idempotency) -> Job | None:
        rows = self._database.read(
            "replay", key_id=key_id, idempotency_key=asked.key, seconds=IDEMPOTENCY_S
        )
        return _checked(rows[0], asked) if rows else None

    def get(self, job_id: str) -> Job | None:
        rows = self._database.read("get", id=job_id)
        return read_job(rows[0]) if rows else None

    def position(self, job_id: str) -> int | None:
        return self._count("position", id=job_id, most=MOST_PLACES) or None

    def waiting(self, pool: str | None = None, *, most: int | None = None) -> int:
        most = NO_LIMIT if most is None else most
        if pool is None:
            return self._count("waiting", most=most)
        return self._count("waiting_in", pool=pool, most=most)

    def list(
        self, key_id: str, *, state: State | None = None, before: int | None = None, limit: int
    ) -> Sequence[Job]:
        rows = self._database.read(
            "list",
            key_id=key_id,
            state=state,
            before=NO_LIMIT if before is None else before,
            limit=limit,
        )
        return [read_job(row) for row in rows]

    def submitted_since(self, key_id: str, seconds: float) -> int:
        return self._count("submitted_since", key_id=key_id, seconds=seconds)

    def queued_of(self, key_id: str) -> int:
        return self._count("queued_of", key_id=key_id)

    def claim(
        self,
        worker_id: str,
        *,
        pool: str = DEFAULT_POOL,
        loaded: Sequence[str] = (),
        limits: Mapping[str, int] | None = None,
    ) -> Lease | None:
        if not self._database.read("any_queued", pool=pool):
            return None
        token = str(uuid_utils.uuid4())
        wanted = {
            "pool": pool,
            "loaded": json.dumps([*loaded]),
            "limits": json.dumps(dict(limits or {})),
            "default_limit": self._default_limit,
            "window": AFFINITY_WINDOW,
            "most_passed_over": MOST_PASSED_OVER,
        }
        holder = {"worker_id": worker_id, "token": token, "lease_s": self._lease_s}
        tries = count()

        def work(run: Run) -> Row | None:
            if next(tries) and (held := run("held_by", pool=pool, token=token)):
                return held[0]
            return _claim(pool, wanted, holder, run)

        row = self._database.transact(work)
        return self._lease(read_job(row), token) if row else None

    def heartbeat(
        self,
        job_id: str,
        token: str,
        progress: Progress | None = None,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> Beat:
        rows = self._database.write(
            "heartbeat",
            id=job_id,
            token=token,
            lease_s=self._lease_s,
            progress=progress and progress.model_dump_json(),
            warnings=_dumped(warnings),
        )
        if not rows:
            return Beat.LOST
        if progress and rows[0]["webhook_events"] == "all":
            self._database.write(
                "add_delivery", id=new_id(), job_id=job_id, event="request.progress"
            )
        return Beat.CANCELLING if rows[0]["cancel_asked"] else Beat.HELD

    def succeed(
        self,
        job_id: str,
        token: str,
        outcome: Outcome,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        values = {"outcome": outcome.model_dump_json(), "warnings": _dumped(warnings)}
        return self._settle("succeed", job_id, token, values, State.SUCCEEDED)

    def fail(
        self,
        job_id: str,
        token: str,
        failure: Failure,
        warnings: tuple[Adjustment, ...] | None = None,
    ) -> bool:
        values = {"failure": failure.model_dump_json(), "warnings": _dumped(warnings)}
        return self._settle("fail", job_id, token, values, State.FAILED)

    def release(self, job_id: str, token: str) -> bool:
        # Once released, the job may have been cancelled: that was this release's doing too.
        return self._settle("release", job_id, token, {}, State.IN_QUEUE)

    def stop(self, job_id: str, token: str) -> bool:
        return self._settle("stop", job_id, token, {})

    def cancel(self, job_id: str, *, running: bool = False) -> Job | None:
        def work(run: Run) -> Sequence[Row]:
            # Locked, so that it is not put back between the two statements.
            rows = run("lock_job", id=job_id)
            if rows and running:
                run("ask_cancel", id=job_id)
            return rows and self._end(run, "cancel", id=job_id)

        self._database.transact(work)
        return self.get(job_id)

    def reap(self) -> Sequence[Job]:
        return [
            *self._end_all(
                "reap_lost",
                failure=WORKER_LOST.model_dump_json(),
                not_before=self._opened_at + self._lease_s,
                lease_s=self._lease_s,
            ),
            *self._end_all("reap_late", failure=DEADLINE_EXCEEDED.model_dump_json()),
        ]

    def _submit(self, new: NewJob, run: Run) -> Submission | None:
        run("add_pool", pool=new.pool)
        if new.idempotency:
            run(
                "free_idempotency",
                key_id=new.key_id,
                idempotency_key=new.idempotency.key,
                seconds=IDEMPOTENCY_S,
            )
        rows = run("submit", **_columns(new), max_attempts=self._max_attempts)
        if not rows:
            return _submitted_before(new, run)
        run("submit_input", id=new.id, input=new.input.model_dump_json())
        return Submission(read_job(rows[0]), replayed=False)

    def _lease(self, job: Job, token: str) -> Lease:
        rows = self._database.read("input", id=job.id)
        return Lease(job, token, VideoToVideoInput.model_validate_json(rows[0]["body"]))

    def _settle(
        self, statement: str, job_id: str, token: str, values: Mapping[str, object], *ends: State
    ) -> bool:
        """End an attempt, or find that this very token ended it so before."""

        def work(run: Run) -> bool:
            if self._end(run, statement, id=job_id, token=token, **values):
                return True
            rows = run("settled", id=job_id, token=token)
            return bool(rows) and rows[0]["state"] in {*ends, State.CANCELLED}

        return self._database.transact(work)

    def _end(self, run: Run, statement: str, **values: object) -> Sequence[Row]:
        """Change jobs, with a webhook in the outbox for each that ends by it and asked for one."""
        rows = run(statement, retention_s=self._retention_s, **values)
        for row in rows:
            event = END_EVENTS.get(State(row["state"]))
            if event and row["webhook_url"]:
                run("add_delivery", id=new_id(), job_id=row["id"], event=event)
        return rows

    def _end_all(self, statement: str, **values: object) -> Sequence[Job]:
        rows = self._database.transact(lambda run: self._end(run, statement, **values))
        return [read_job(row) for row in rows]


def _claim(pool: str, wanted: Values, holder: Values, run: Run) -> Row | None:
    """Choose and take a job while no other claim of this pool does."""
    if (paused := run("lock_pool", pool=pool)) and paused[0]["paused"]:
        return None
    while choice := run("choose_near", **wanted) or run("choose_far", **wanted):
        taken = run("take", id=choice[0]["id"], **holder)
        # None: it was cancelled since it was chosen.
        if taken:
            _take_turn(pool, choice[0], taken[0], run)
            return taken[0]
    return None


def _take_turn(pool: str, choice: Row, taken: Row, run: Run) -> None:
    if choice["id"] != choice["head_id"]:
        run("pass_over", id=choice["head_id"])
    run("advance", pool=pool, priority=taken["priority"], rank=taken["fair_rank"])
    if taken["webhook_events"] == "all":
        run("add_delivery", id=new_id(), job_id=taken["id"], event="request.started")


def _columns(new: NewJob) -> Values:
    """What `submit` writes into the row of a new job."""
    plain = ("id", "pool", "model_id", "key_id", "priority", "affinity", "start_within_s")
    return {
        **{name: getattr(new, name) for name in plain},
        "turn": 1 / new.weight,
        "warnings": dump_all(new.warnings),
        "idempotency_key": new.idempotency and new.idempotency.key,
        "fingerprint": new.idempotency and new.idempotency.fingerprint,
        "webhook_url": new.webhook and new.webhook.url,
        "webhook_events": new.webhook and new.webhook.events,
        "webhook_base": new.webhook and new.webhook.base_url,
    }


def _submitted_before(new: NewJob, run: Run) -> Submission | None:
    """The job that is in the way of a new one: itself, or the first with its idempotency key."""
    if rows := run("get", id=new.id):
        return Submission(read_job(rows[0]), replayed=False)
    if (asked := new.idempotency) is None:
        return None
    rows = run("replayed", key_id=new.key_id, idempotency_key=asked.key)
    return Submission(_checked(rows[0], asked), replayed=True) if rows else None


def _checked(row: Row, asked: Idempotency) -> Job:
    """The job that a key stands for, if it was sent with the same body."""
    if row["fingerprint"] != asked.fingerprint:
        raise IdempotencyConflictError(
            f"The idempotency key {asked.key!r} was sent with another body within the last "
            "24 hours; send the same body again, or another key."
        )
    return read_job(row)


def _dumped(warnings: tuple[Adjustment, ...] | None) -> str | None:
    return None if warnings is None else dump_all(warnings)

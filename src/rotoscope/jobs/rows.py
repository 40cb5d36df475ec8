"""Rows to values and back; JSON columns hold the schema's own models."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from rotoscope.jobs.job import Job, State
from rotoscope.jobs.store import Delivery, Pool, WorkerSeen
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress

Model = TypeVar("Model", bound=BaseModel)
Row = Mapping[str, Any]

_ADJUSTMENTS = TypeAdapter(tuple[Adjustment, ...])


def dump_all(adjustments: Iterable[Adjustment]) -> str:
    return _ADJUSTMENTS.dump_json(tuple(adjustments)).decode()


def read_job(row: Row) -> Job:
    return Job(
        id=row["id"],
        seq=row["seq"],
        model_id=row["model_id"],
        key_id=row["key_id"],
        pool=row["pool"],
        priority=row["priority"],
        state=State(row["state"]),
        version=row["version"],
        cancel_asked=bool(row["cancel_asked"]),
        attempt=row["attempt"],
        **_moments(row, "created_at", "start_by", "started_at", "finished_at", "expires_at"),
        progress=_model(Progress, row["progress"]),
        warnings=_ADJUSTMENTS.validate_json(row["warnings"]),
        outcome=_model(Outcome, row["outcome"]),
        failure=_model(Failure, row["failure"]),
    )


def read_delivery(row: Row) -> Delivery:
    return Delivery(
        id=row["id"],
        job_id=row["job_id"],
        key_id=row["key_id"],
        event=row["event"],
        url=row["url"],
        base_url=row["base_url"],
        attempt=row["attempt"],
        state=row["state"],
        last_status=row["last_status"],
        last_note=row["last_note"],
        token=row["token"] or "",
        **_moments(row, "next_at", "created_at", "done_at"),
    )


def read_pool(row: Row) -> Pool:
    return Pool(
        name=row["name"],
        paused=bool(row["paused"]),
        queued=row["queued"],
        oldest_s=row["oldest_s"],
        running=row["running"],
    )


def read_worker(row: Row) -> WorkerSeen:
    return WorkerSeen(
        worker_id=row["worker_id"],
        pool=row["pool"],
        facts=json.loads(row["facts"]),
        **_moments(row, "seen_at"),
    )


def _moments(row: Row, *names: str) -> dict[str, Any]:
    return {
        name: None if row[name] is None else datetime.fromtimestamp(row[name], UTC)
        for name in names
    }


def _model(kind: type[Model], text: str | None) -> Model | None:
    return None if text is None else kind.model_validate_json(text)

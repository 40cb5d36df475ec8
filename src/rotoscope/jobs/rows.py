"""Rows of the jobs table to values and back; JSON columns hold the schema's own models."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from rotoscope.jobs.job import Job, State
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress

Model = TypeVar("Model", bound=BaseModel)

_ADJUSTMENTS = TypeAdapter(tuple[Adjustment, ...])


def dump_all(adjustments: Iterable[Adjustment]) -> str:
    return _ADJUSTMENTS.dump_json(tuple(adjustments)).decode()


def read_job(row: Any) -> Job:
    return Job(
        id=row["id"],
        model_id=row["model_id"],
        key_id=row["key_id"],
        state=State(row["state"]),
        attempt=row["attempt"],
        created_at=datetime.fromtimestamp(row["created_at"], UTC),
        started_at=_moment(row["started_at"]),
        finished_at=_moment(row["finished_at"]),
        progress=_model(Progress, row["progress"]),
        warnings=_ADJUSTMENTS.validate_json(row["warnings"]),
        outcome=_model(Outcome, row["outcome"]),
        failure=_model(Failure, row["failure"]),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _model(kind: type[Model], text: str | None) -> Model | None:
    return None if text is None else kind.model_validate_json(text)

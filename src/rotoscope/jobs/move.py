"""Take the jobs of a data folder over into PostgreSQL, once.

All of it is one transaction there. Then the folder's file gets another name, so that no server
runs its jobs a second time; a move that was cut short in between can be repeated.
"""

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rotoscope.errors import OperatorError
from rotoscope.jobs.sqlite import FILE_NAME, SqliteDatabase
from rotoscope.postgres import Postgres, Session

MOVED_NAME = "jobs.moved.sqlite"
LEASE_S = 60.0
"""Running jobs keep their lease that long: a worker that finds the new server goes on."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many jobs of the folder came over now, and how many were in the database before."""

    jobs: int
    there: int


def move_jobs(data_dir: Path, target: Postgres) -> Moved:
    """Copy jobs, inputs, pools and webhooks that are due into a database with the same tables.

    Raises:
        OperatorError: A server owns the folder, or it has no jobs.
    """
    if not (data_dir / FILE_NAME).exists():
        return _moved_before(data_dir, target)
    with closing(SqliteDatabase(data_dir, time.time)) as folder:
        moved = _copy(folder.reader, target)
    (data_dir / FILE_NAME).rename(data_dir / MOVED_NAME)
    return moved


def _moved_before(data_dir: Path, target: Postgres) -> Moved:
    """What is there of an earlier move; nothing is copied, since some may have expired since."""
    file = data_dir / MOVED_NAME
    if not file.exists():
        raise OperatorError(f"{data_dir} has no jobs: there is no {FILE_NAME} in it.")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as folder:
        ids = [row[0] for row in folder.execute("SELECT id FROM jobs")]
    return Moved(jobs=0, there=sum(_is_there(target, job_id) for job_id in ids))


def _is_there(target: Postgres, job_id: str) -> bool:
    return bool(target.run("SELECT 1 AS one FROM jobs WHERE id = :id", again=True, id=job_id))


def _copy(folder: sqlite3.Connection, target: Postgres) -> Moved:
    jobs = there = 0
    with target.transaction() as session:
        until = session.run("SELECT epoch() AS now")[0]["now"] + LEASE_S
        _copy_pools(folder, session)
        for row in folder.execute("SELECT * FROM jobs ORDER BY seq"):
            if _copy_job(folder, session, dict(row), until):
                jobs += 1
            else:
                there += 1
    return Moved(jobs, there)


def _copy_pools(folder: sqlite3.Connection, session: Session) -> None:
    """Newcomers stand in line behind what was handed out in either place."""
    for row in folder.execute("SELECT * FROM pools"):
        _insert(session, "pools", dict(row), unless="name")
        session.run(
            "UPDATE pools SET vtime = greatest(vtime, :vtime),"
            " low_vtime = greatest(low_vtime, :low_vtime) WHERE name = :name",
            name=row["name"],
            vtime=row["vtime"],
            low_vtime=row["low_vtime"],
        )


def _copy_job(
    folder: sqlite3.Connection, session: Session, row: dict[str, Any], until: float
) -> bool:
    """Whether the job was not there yet. The database numbers it anew, in the same order."""
    del row["seq"]
    if row["lease_until"] is not None:
        row["lease_until"] = until
    if not _insert(session, "jobs", row, unless="id"):
        return False
    for table in ("inputs", "deliveries"):
        for more in folder.execute(
            f"SELECT * FROM {table} WHERE job_id = ?",  # noqa: S608 - one of two names
            (row["id"],),
        ):
            _insert(session, table, dict(more), unless="job_id" if table == "inputs" else "id")
    return True


def _insert(session: Session, table: str, row: Mapping[str, Any], *, unless: str) -> bool:
    """Whether the row was inserted; not if there is one with the same `unless`."""
    columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    done = session.run(
        f"INSERT INTO {table} ({columns}) VALUES ({values})"  # noqa: S608 - names of our own
        f" ON CONFLICT ({unless}) DO NOTHING RETURNING 1 AS one",
        **row,
    )
    return bool(done)

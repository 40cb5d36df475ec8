"""The verbs around the queue: retention, the outbox of webhooks, operation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import uuid_utils

from rotoscope.jobs.database import Database, Run
from rotoscope.jobs.job import TRANSITIONS, Job, State
from rotoscope.jobs.rows import read_delivery, read_job, read_pool, read_worker
from rotoscope.jobs.store import SWEEP_LEASE_S, Delivery, Pool, WorkerSeen


class Upkeep:
    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        self._database.close()

    def take_expired(self, limit: int) -> Sequence[Job]:
        rows = self._database.write("take_expired", limit=limit, lease_s=SWEEP_LEASE_S)
        return [read_job(row) for row in rows]

    def forget(self, job_id: str) -> bool:
        def work(run: Run) -> bool:
            rows = run("lock_job", id=job_id)
            if rows and TRANSITIONS[State(rows[0]["state"])]:
                return False
            for table in ("deliveries", "inputs", "job"):
                run(f"forget_{table}", id=job_id)
            return True

        return self._database.transact(work)

    def job_exists(self, ids: Sequence[str]) -> set[str]:
        rows = self._database.read("job_exists", ids=json.dumps([*ids]))
        return {row["id"] for row in rows}

    def take_delivery(self, lease_s: float) -> Delivery | None:
        token = str(uuid_utils.uuid4())
        rows = self._database.write("take_delivery", token=token, lease_s=lease_s)
        return read_delivery(rows[0]) if rows else None

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
        rows = self._database.write(
            "settle_delivery",
            id=delivery_id,
            token=token,
            done=int(done),
            next_in_s=next_in_s,
            status=status,
            note=note,
        )
        return bool(rows)

    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        rows = self._database.read("deliveries", job_id=job_id)
        return [read_delivery(row) for row in rows]

    def redeliver(self, delivery_id: str) -> bool:
        return bool(self._database.write("redeliver", id=delivery_id))

    def pause(self, pool: str) -> None:
        self._database.write("set_paused", pool=pool, paused=1)

    def resume(self, pool: str) -> None:
        self._database.write("set_paused", pool=pool, paused=0)

    def pools(self) -> Sequence[Pool]:
        return [read_pool(row) for row in self._database.read("pools")]

    def counts(self) -> Mapping[State, int]:
        found = {row["state"]: row["jobs"] for row in self._database.read("counts")}
        return {state: found.get(state, 0) for state in State}

    def seen(self, worker_id: str, pool: str, facts: Mapping[str, Any]) -> None:
        self._database.write("seen", worker_id=worker_id, pool=pool, facts=json.dumps(dict(facts)))

    def workers(self, within_s: float) -> Sequence[WorkerSeen]:
        return [read_worker(row) for row in self._database.read("workers", within_s=within_s)]

    def ping(self) -> None:
        self._database.read("ping")

    def _count(self, statement: str, **values: object) -> int:
        return int(self._database.read(statement, **values)[0]["jobs"])

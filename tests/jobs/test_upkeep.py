"""Retention, the outbox of webhooks, and what an operator sees."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pg8000.exceptions import DatabaseError

from rotoscope.jobs import table
from rotoscope.jobs.job import State
from rotoscope.jobs.store import Beat, Delivery, JobStore, Webhook
from rotoscope.schema.output import Progress
from tests.jobs.conftest import (
    FAILURE,
    LEASE_S,
    RETENTION_S,
    Clock,
    OpenStore,
    claim,
    found,
    make_outcome,
    state_of,
    submit,
)

HOOK = Webhook("https://example.org/hook", base_url="https://here.example")
PROGRESS = Progress(stage="denoise", stages=["denoise"], step=1, steps=2, fraction=0.5)


def end(store: JobStore, **more: object) -> str:
    """A job that failed."""
    job_id = submit(store, **more).id
    assert store.fail(job_id, claim(store).token, FAILURE)
    return job_id


def take(store: JobStore) -> Delivery:
    delivery = store.take_delivery(30)
    assert delivery is not None
    return delivery


def test_an_ended_job_expires_after_its_time(store: JobStore, clock: Clock) -> None:
    """Not before, and never while it is queued or running."""
    ended = end(store)
    withdrawn = submit(store).id
    store.cancel(withdrawn)
    running = submit(store).id
    claim(store)
    queued = submit(store).id
    clock.advance(RETENTION_S - 1)
    assert store.take_expired(10) == []
    clock.advance(1)

    assert {job.id for job in store.take_expired(10)} == {ended, withdrawn}
    assert [state_of(store, job) for job in (running, queued)] == [
        State.IN_PROGRESS,
        State.IN_QUEUE,
    ]


def test_without_an_end_of_retention_nothing_expires(open_store: OpenStore, clock: Clock) -> None:
    """Turned on later, it counts from each job's end."""
    store = open_store(retention_s=None)
    job_id = end(store)
    clock.advance(100 * RETENTION_S)
    assert (found(store, job_id).expires_at, store.take_expired(10)) == (None, [])


def test_each_expired_job_belongs_to_one_sweeper(store: JobStore, clock: Clock) -> None:
    """Four sweepers at once share the jobs out; those that are left come back after a minute."""
    ids = {end(store) for _ in range(12)}
    clock.advance(RETENTION_S)

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda _: store.take_expired(3), range(6)))

    taken = [job.id for share in shares for job in share]
    assert len(taken) == len(set(taken))
    assert set(taken) <= ids
    clock.advance(60)
    assert {job.id for job in store.take_expired(20)} == ids


def test_a_forgotten_job_is_gone_with_all_of_it(store: JobStore) -> None:
    """Its row, its input and its webhooks; said twice it is still done."""
    job_id = end(store, webhook=HOOK)
    other = submit(store).id

    assert [store.forget(job_id) for _ in range(2)] == [True, True]
    assert (store.get(job_id), store.deliveries(job_id)) == (None, [])
    assert store.take_delivery(30) is None
    assert store.job_exists([job_id, other, "nothing"]) == {other}
    assert store.job_exists([]) == set()


def test_a_job_that_has_not_ended_is_not_forgotten(store: JobStore) -> None:
    """Neither while it is queued nor while it runs."""
    job_id = submit(store).id
    assert not store.forget(job_id)
    token = claim(store).token
    assert not store.forget(job_id)
    assert store.heartbeat(job_id, token) is Beat.HELD


Ending = Callable[[JobStore, Clock], object]


def lose(store: JobStore, clock: Clock) -> None:
    for _ in range(2):
        claim(store)
        clock.advance(LEASE_S + 1)
        store.reap()


ENDINGS: dict[str, Ending] = {
    "succeeded": lambda store, _: (
        lease := claim(store),
        store.succeed(lease.job.id, lease.token, make_outcome()),
    ),
    "failed": lambda store, _: (
        lease := claim(store),
        store.fail(lease.job.id, lease.token, FAILURE),
    ),
    "lost": lose,
    "withdrawn": lambda store, _: store.cancel(store.list("k", limit=1)[0].id),
    "late": lambda store, clock: (clock.advance(1000), store.reap()),
    "stopped": lambda store, _: (
        lease := claim(store),
        store.cancel(lease.job.id, running=True),
        store.stop(lease.job.id, lease.token),
    ),
}
EVENTS = {
    "succeeded": "request.succeeded",
    "failed": "request.failed",
    "lost": "request.failed",
    **dict.fromkeys(("withdrawn", "late", "stopped"), "request.cancelled"),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_each_end_of_a_job_puts_one_webhook_out(how: str, store: JobStore, clock: Clock) -> None:
    """However a job ends, the outbox has one webhook that says so, due at once."""
    job_id = submit(store, webhook=HOOK, start_within_s=900).id

    ENDINGS[how](store, clock)

    (delivery,) = store.deliveries(job_id)
    assert (delivery.event, delivery.url, delivery.base_url, delivery.key_id) == (
        EVENTS[how],
        HOOK.url,
        HOOK.base_url,
        "k",
    )
    assert take(store).id == delivery.id


def test_a_job_without_a_webhook_puts_none_out(store: JobStore) -> None:
    """Nobody asked to be told."""
    assert store.deliveries(end(store)) == []
    assert store.take_delivery(30) is None


def test_an_end_and_its_webhook_are_one_transaction(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the webhook cannot be written, the job has not ended either."""
    first = end(store, webhook=HOOK)
    taken_id = store.deliveries(first)[0].id
    job_id = submit(store, webhook=HOOK).id
    token = claim(store).token
    with monkeypatch.context() as patch:
        patch.setattr(table, "new_id", lambda: taken_id)
        with pytest.raises((sqlite3.IntegrityError, DatabaseError)):
            store.succeed(job_id, token, make_outcome())
    assert (state_of(store, job_id), store.deliveries(job_id)) == (State.IN_PROGRESS, [])

    assert store.succeed(job_id, token, make_outcome())
    assert len(store.deliveries(job_id)) == 1


def test_all_events_are_told_where_asked(store: JobStore) -> None:
    """The start, progress (as it is when it is sent: one that waits is enough), the end."""
    job_id = submit(store, webhook=Webhook(HOOK.url, "all")).id
    token = claim(store).token
    store.heartbeat(job_id, token, PROGRESS)
    store.heartbeat(job_id, token, PROGRESS)
    store.heartbeat(job_id, token)
    store.fail(job_id, token, FAILURE)

    assert [one.event for one in store.deliveries(job_id)] == [
        "request.started",
        "request.progress",
        "request.failed",
    ]


def test_a_webhook_is_sent_by_one_at_a_time(store: JobStore, clock: Clock) -> None:
    """Taken, it is another's only after its lease, and what the first one says then is refused."""
    end(store, webhook=HOOK)
    first = take(store)
    assert (first.state, first.attempt) == ("sending", 1)
    assert store.take_delivery(30) is None
    assert not store.redeliver(first.id)
    clock.advance(31)

    second = take(store)

    said = {"done": True, "next_in_s": None, "status": 200, "note": ""}
    assert (second.id, second.attempt) == (first.id, 2)
    assert not store.settle_delivery(first.id, first.token, **said)
    assert store.settle_delivery(second.id, second.token, **said)
    (settled,) = store.deliveries(second.job_id)
    assert (settled.state, settled.last_status, settled.done_at) == (
        "delivered",
        200,
        settled.next_at,
    )


def test_a_webhook_that_failed_is_due_again_or_given_up(store: JobStore, clock: Clock) -> None:
    """Later, as often as its sender says; by hand it is sent again whatever came of it."""
    job_id = end(store, webhook=HOOK)
    one = take(store)
    failed = {"done": False, "status": None, "note": "No answer."}
    assert store.settle_delivery(one.id, one.token, next_in_s=60, **failed)
    assert store.take_delivery(30) is None
    clock.advance(60)
    one = take(store)
    assert store.settle_delivery(one.id, one.token, next_in_s=None, **failed)
    (given_up,) = store.deliveries(job_id)
    assert (given_up.state, given_up.attempt, given_up.last_note) == ("failed", 2, "No answer.")
    clock.advance(10_000)
    assert store.take_delivery(30) is None

    assert store.redeliver(one.id)
    assert take(store).attempt == 3
    assert not store.redeliver("nothing")


def test_racing_senders_share_no_webhook(store: JobStore) -> None:
    """Four that take at once get each webhook once."""
    for _ in range(8):
        end(store, webhook=HOOK)

    with ThreadPoolExecutor(4) as pool:
        found_ids = list(pool.map(lambda _: store.take_delivery(30), range(12)))

    taken = [one.id for one in found_ids if one]
    assert (len(taken), len(set(taken))) == (8, 8)


def test_an_operator_sees_pools_and_states(store: JobStore, clock: Clock) -> None:
    """What waits and for how long, what runs, how much there is of each state."""
    end(store)
    submit(store)
    claim(store)
    submit(store)
    clock.advance(40)
    submit(store)
    store.pause("closed")

    default, closed = sorted(store.pools(), key=lambda pool: pool.name != "default")
    assert (default.name, default.queued, default.oldest_s, default.running) == (
        "default",
        2,
        40,
        1,
    )
    assert (closed.name, closed.paused, closed.queued, closed.oldest_s) == ("closed", True, 0, None)
    assert {state: n for state, n in store.counts().items() if n} == {
        State.IN_QUEUE: 2,
        State.IN_PROGRESS: 1,
        State.FAILED: 1,
    }


def test_workers_are_seen_while_they_are_there(store: JobStore, clock: Clock) -> None:
    """With what they told last; those that were not heard of for a while are left out."""
    store.seen("b", "default", {"gpu": "none"})
    store.seen("a", "default", {"memory": [1, 2]})
    clock.advance(60)
    store.seen("b", "other", {"gpu": "H200", "note": "é"})

    (worker,) = store.workers(30)

    assert (worker.worker_id, worker.pool, worker.facts) == (
        "b",
        "other",
        {"gpu": "H200", "note": "é"},
    )
    assert worker.seen_at.timestamp() == clock.now
    assert [one.worker_id for one in store.workers(61)] == ["a", "b"]
    store.ping()

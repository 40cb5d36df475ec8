"""Whose turn it is: keys, priorities, limits, LoRA sets and pools."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from rotoscope.jobs import table
from rotoscope.jobs.job import State
from rotoscope.jobs.store import LOW, JobStore
from tests.jobs.conftest import FAILURE, LEASE_S, Clock, claim, found, submit


def keys(store: JobStore, times: int, **more: object) -> str:
    """The keys of the next so many claims, one letter each."""
    return "".join(claim(store, **more).job.key_id for _ in range(times))


def test_a_few_jobs_do_not_wait_behind_many(store: JobStore) -> None:
    """Five jobs of B behind a hundred of A have 1, 3, 5, 7 and 9 jobs before them."""
    for _ in range(30):
        submit(store, "A")
    late = [submit(store, "B").id for _ in range(5)]

    assert [store.position(job) for job in late] == [2, 4, 6, 8, 10]
    assert keys(store, 12) == "ABABABABABAA"


def test_a_newcomer_takes_turns_with_whoever_is_far_ahead(store: JobStore) -> None:
    """While A is at its limit and C is far into its line, D does not come before or after all."""
    limits = {"A": 1}
    for key in 5 * ["A"] + 30 * ["C"]:
        submit(store, key)
    keys(store, 21, limits=limits)
    for _ in range(5):
        submit(store, "D")

    assert keys(store, 10, limits=limits) == "DCDCDCDCDC"


def test_one_job_at_a_time_is_no_way_around_the_line(store: JobStore) -> None:
    """A key that submits again after each claim gets every second turn, not every one."""
    for _ in range(10):
        submit(store, "C")
    submit(store, "A")
    order = ""
    for _ in range(8):
        key = keys(store, 1)
        order += key
        if key == "A":
            submit(store, "A")

    assert order in {"CACACACA", "ACACACAC"}


def test_a_weight_of_two_gets_two_turns(store: JobStore) -> None:
    """Beside a key of weight 1, one of weight 2 gets two of three."""
    for _ in range(12):
        submit(store, "A", weight=2.0)
        submit(store, "B")

    assert sorted(keys(store, 9)) == sorted("AAAAAABBB")


def test_a_cancelled_line_is_no_line(store: JobStore) -> None:
    """A key that withdraws its jobs is not held to the turns that they would have taken."""
    for _ in range(20):
        store.cancel(submit(store, "A").id)
    submit(store, "B")
    submit(store, "B")
    submit(store, "A")

    assert keys(store, 3) == "BAB"


def test_low_priority_waits_for_normal(store: JobStore) -> None:
    """Whatever is normal comes first, unless it may not run; positions say so too."""
    low = submit(store, "L", priority=LOW).id
    first = submit(store, "N").id
    submit(store, "N")

    assert (store.position(first), store.position(low)) == (1, 3)
    assert keys(store, 2, limits={"N": 1}) == "NL"
    assert keys(store, 1) == "N"


def test_low_priority_takes_turns_of_its_own(store: JobStore) -> None:
    """Low jobs that ran do not push the line of normal ones ahead."""
    for _ in range(20):
        submit(store, "L", priority=LOW)
    for _ in range(3):
        submit(store, "A")
    assert keys(store, 21, limits={"A": 1}) == "A" + 20 * "L"
    submit(store, "B")

    assert keys(store, 3) == "BAA"


def test_a_key_at_its_limit_is_passed_by(store: JobStore) -> None:
    """Its jobs wait, however many there are before the next key's, until one of them ends."""
    for _ in range(40):
        submit(store, "A")
    other = submit(store, "B", weight=0.01).id
    first = claim(store, limits={"A": 1})

    assert claim(store, limits={"A": 1}).job.id == other
    assert store.claim("w", limits={"A": 1}) is None
    assert store.fail(first.job.id, first.token, FAILURE)
    assert claim(store, limits={"A": 1}).job.key_id == "A"


def test_limits_hold_however_many_claim_at_once(store: JobStore) -> None:
    """Eight claimers in a race never run more of a key than it may, and get all jobs once.

    Each holds another set, so that each would take another job.
    """
    limits = {"A": 2, "B": 1}
    ids = {submit(store, key, affinity=f"{n % 8}").id for n in range(16) for key in "AB"}
    start = Barrier(8)

    most = {"A": 0, "B": 0}

    def look(key: str) -> None:
        found = len(store.list(key, state=State.IN_PROGRESS, limit=100))
        most[key] = max(most[key], found)

    def work(worker: int) -> list[str]:
        start.wait()
        done = []
        while store.waiting():
            if lease := store.claim(f"w{worker}", limits=limits, loaded=[f"{worker}"]):
                look("A")
                look("B")
                done.append(lease.job.id)
                assert store.fail(lease.job.id, lease.token, FAILURE)
        return done

    with ThreadPoolExecutor(8) as pool:
        shares = list(pool.map(work, range(8)))

    claimed = [job for share in shares for job in share]
    assert (len(claimed), set(claimed)) == (32, ids)
    assert all(0 < most[key] <= limits[key] for key in limits), most


def test_a_loaded_set_comes_first_within_four_turns(store: JobStore) -> None:
    """A worker is given what it holds, unless that is more than four turns ahead of the first."""
    jobs = [submit(store, affinity="x" if place in {4, 5} else "y").id for place in range(7)]

    taken = [claim(store, loaded=["x", "z"]).job.id for _ in range(4)]

    assert [jobs.index(job) for job in taken] == [4, 0, 5, 1]


def test_the_best_of_several_loaded_sets_is_taken(store: JobStore) -> None:
    """Of all jobs whose set is loaded it is the first in line; the very first if it is one."""
    jobs = [submit(store, affinity=name).id for name in "yxzw"]

    assert claim(store, loaded=["z", "x"]).job.id == jobs[1]
    assert claim(store, loaded=["z", "y"]).job.id == jobs[0]


def test_the_first_job_is_passed_over_only_so_often(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newcomers with the loaded set do not keep it waiting for ever."""
    monkeypatch.setattr(table, "MOST_PASSED_OVER", 3)
    submit(store, "A", affinity="y")
    for key in "BCDEF":
        submit(store, key, affinity="x")

    assert keys(store, 5, loaded=["x"]) == "BCDAE"


def test_a_loaded_set_does_not_lift_a_limit(store: JobStore) -> None:
    """Nor does it lift a priority."""
    submit(store, "A", affinity="x")
    submit(store, "A", affinity="x")
    submit(store, "B", affinity="y")
    submit(store, "Z", affinity="x", priority=LOW)

    assert keys(store, 3, loaded=["x"], limits={"A": 1}) == "ABZ"


def test_pools_are_apart(store: JobStore) -> None:
    """A worker of one pool gets no job of another; each has its own places."""
    here, there = submit(store, pool="here").id, submit(store, pool="there").id

    assert store.claim("w") is None
    assert (store.position(here), store.position(there)) == (1, 1)
    assert (store.waiting("here"), store.waiting("default"), store.waiting()) == (1, 0, 2)
    assert claim(store, pool="there").job.id == there


def test_a_paused_pool_hands_nothing_out(store: JobStore) -> None:
    """It takes jobs and lets running ones end; resumed, it goes on where it was."""
    first, second = submit(store).id, submit(store).id
    running = claim(store)
    store.pause("default")

    assert store.claim("w") is None
    assert store.fail(first, running.token, FAILURE)
    assert [pool.paused for pool in store.pools()] == [True]
    store.resume("default")
    assert claim(store).job.id == second


def test_a_lost_job_comes_before_later_ones(store: JobStore, clock: Clock) -> None:
    """Put back, it has the place that its rank gave it, and newcomers do not pass it."""
    for key in "AAB":
        submit(store, key)
    lost = claim(store).job.id
    keys(store, 1)
    clock.advance(LEASE_S / 2)
    clock.advance(LEASE_S)
    store.reap()
    submit(store, "D")

    assert claim(store).job.id == lost
    assert found(store, lost).attempt == 2

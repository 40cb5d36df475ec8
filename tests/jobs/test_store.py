"""What the job table promises, on each engine and on a clock that moves only when told."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from rotoscope.errors import IdempotencyConflictError
from rotoscope.jobs import table
from rotoscope.jobs.job import State
from rotoscope.jobs.store import MOST_PLACES, Beat, Idempotency, JobStore, NewJob
from rotoscope.jobs.table import JobTable
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress
from tests.jobs.conftest import (
    ASKED,
    FAILURE,
    LEASE_S,
    Clock,
    OpenStore,
    claim,
    found,
    make_outcome,
    state_of,
    submit,
)

PROGRESS = Progress(
    stage="denoise", stages=["fetch", "denoise"], step=3, steps=8, fraction=0.5, eta_s=4.0
)
WARNING = Adjustment(field="num_frames", asked=120, used=121, why="snapped to 8k+1")


def test_a_submitted_job_reads_back_as_it_was(
    store: JobStore, asked: VideoToVideoInput, clock: Clock
) -> None:
    """What a submit answers is what a later read finds."""
    job = store.submit(
        NewJob(model_id="model", key_id="owner", input=asked, warnings=(WARNING,))
    ).job

    assert store.get(job.id) == job
    assert (job.model_id, job.key_id, job.state, job.attempt) == (
        "model",
        "owner",
        State.IN_QUEUE,
        0,
    )
    assert job.warnings == (WARNING,)
    assert job.created_at.timestamp() == clock.now


def test_an_unknown_job_is_none(store: JobStore) -> None:
    """Asking for what was never submitted is answered, not raised."""
    assert store.get("nothing") is None
    assert store.position("nothing") is None
    assert store.cancel("nothing") is None


def test_first_in_first_out(store: JobStore) -> None:
    """Jobs are claimed in the order in which they were submitted."""
    ids = [submit(store).id for _ in range(5)]

    assert [claim(store).job.id for _ in ids] == ids
    assert store.claim("worker-1") is None


def test_positions_start_at_one_and_move_up(store: JobStore) -> None:
    """The next job is at 1; a claim moves the others up and takes the claimed one's place away."""
    first, second, third = (submit(store).id for _ in range(3))
    assert [store.position(job) for job in (first, second, third)] == [1, 2, 3]

    claim(store)

    assert [store.position(job) for job in (first, second, third)] == [None, 1, 2]
    assert store.waiting() == 2


def test_a_claim_hands_over_the_input_as_it_was_sent(
    store: JobStore, asked: VideoToVideoInput
) -> None:
    """The worker gets the very input of the submit, under a token of its own."""
    submit(store)
    submit(store)

    one, two = claim(store), claim(store)

    assert one.input == two.input == asked
    assert one.token != two.token
    assert (one.job.state, one.job.attempt) == (State.IN_PROGRESS, 1)


def test_a_heartbeat_notes_progress_and_warnings(store: JobStore) -> None:
    """What a worker tells is read by everyone, and stays when the next beat tells nothing."""
    job_id = submit(store).id
    token = claim(store).token

    assert store.heartbeat(job_id, token, PROGRESS, (WARNING,)) is Beat.HELD
    assert store.heartbeat(job_id, token) is Beat.HELD

    job = store.get(job_id)
    assert job is not None
    assert (job.progress, job.warnings) == (PROGRESS, (WARNING,))


def test_heartbeats_keep_a_lease_alive(store: JobStore, clock: Clock) -> None:
    """A job that is heard of within each lease is never given to another."""
    job_id = submit(store).id
    token = claim(store).token
    for _ in range(5):
        clock.advance(LEASE_S - 1)
        assert store.reap() == []
        assert store.heartbeat(job_id, token) is Beat.HELD


def test_success_ends_a_job_with_its_outcome(
    store: JobStore, outcome: Outcome, clock: Clock
) -> None:
    """A finished job keeps what was made, its warnings and its times, and no progress."""
    job_id = submit(store).id
    token = claim(store).token
    store.heartbeat(job_id, token, PROGRESS)
    clock.advance(5)

    assert store.succeed(job_id, token, outcome, (WARNING,))

    job = store.get(job_id)
    assert job is not None
    assert (job.state, job.outcome, job.warnings) == (State.SUCCEEDED, outcome, (WARNING,))
    assert job.started_at is not None
    assert job.finished_at is not None
    assert (job.finished_at - job.started_at).total_seconds() == 5
    assert job.progress is None


def test_failure_ends_a_job_with_its_reason(store: JobStore, failure: Failure) -> None:
    """A model's error is final: the job is not tried again."""
    job_id = submit(store).id
    assert store.fail(job_id, claim(store).token, failure)

    job = store.get(job_id)
    assert job is not None
    assert (job.state, job.failure) == (State.FAILED, failure)
    assert store.waiting() == 0


def test_a_repeated_end_is_answered_as_done(
    store: JobStore, outcome: Outcome, failure: Failure
) -> None:
    """A worker that lost the answer may ask again, but not for another end."""
    good, bad = (submit(store).id for _ in range(2))
    good_token, bad_token = claim(store).token, claim(store).token
    for _ in range(2):
        assert store.succeed(good, good_token, outcome)
        assert store.fail(bad, bad_token, failure)

    assert not store.fail(good, good_token, failure)
    assert not store.succeed(bad, bad_token, outcome)
    assert not store.release(good, good_token)


def test_a_released_job_returns_to_its_place(store: JobStore) -> None:
    """Release puts a job back at its old place, its attempt not counted, however often said."""
    first, second = (submit(store).id for _ in range(2))
    token = claim(store).token

    assert store.release(first, token)
    assert store.release(first, token)

    job = store.get(first)
    assert job is not None
    assert (job.state, job.attempt, store.position(first)) == (State.IN_QUEUE, 0, 1)
    assert store.position(second) == 2


def test_a_lost_lease_goes_to_the_next_worker(
    store: JobStore, clock: Clock, outcome: Outcome
) -> None:
    """A silent worker's job is queued at its old place, and its late calls change nothing."""
    first, second = (submit(store).id for _ in range(2))
    late = claim(store).token
    clock.advance(LEASE_S + 1)

    assert [(job.id, job.state) for job in store.reap()] == [(first, State.IN_QUEUE)]
    assert (store.position(first), store.position(second)) == (1, 2)
    refused = (store.heartbeat(first, late), store.succeed(first, late, outcome))
    again = claim(store)

    assert refused == (Beat.LOST, False)
    assert (again.job.id, again.job.attempt) == (first, 2)
    assert store.heartbeat(first, late) is Beat.LOST
    assert not store.release(first, late)
    assert store.succeed(first, again.token, outcome)


def test_a_job_is_lost_only_so_often(open_store: OpenStore, clock: Clock, failure: Failure) -> None:
    """After its last attempt a lost job fails as worker_lost, and stays so."""
    store = open_store(max_attempts=3)
    job_id = submit(store).id
    tokens = []
    for _ in range(3):
        tokens.append(claim(store).token)
        clock.advance(LEASE_S + 1)
        store.reap()

    job = store.get(job_id)
    assert job is not None
    assert job.state is State.FAILED
    assert job.failure is not None
    assert (job.failure.code, job.failure.retryable) == ("worker_lost", True)
    assert job.attempt == 3
    assert not any(store.fail(job_id, token, failure) for token in tokens)
    assert store.claim("worker-1") is None


def test_only_queued_jobs_are_cancelled(store: JobStore, outcome: Outcome) -> None:
    """A cancel changes a queued job and no other, and says which it was."""
    running, queued = (submit(store).id for _ in range(2))
    token = claim(store).token

    store.cancel(running)
    store.cancel(queued)
    assert [state_of(store, job) for job in (running, queued)] == [
        State.IN_PROGRESS,
        State.CANCELLED,
    ]
    assert store.succeed(running, token, outcome)
    store.cancel(running)
    assert [state_of(store, job) for job in (running, queued)] == [
        State.SUCCEEDED,
        State.CANCELLED,
    ]
    assert store.claim("worker-1") is None


def test_racing_claimers_share_no_job(store: JobStore) -> None:
    """Four workers that claim at once get each job exactly once."""
    ids = {submit(store).id for _ in range(40)}
    start = Barrier(4)

    def work(worker: int) -> list[str]:
        start.wait()
        claimed = []
        while lease := store.claim(f"worker-{worker}"):
            claimed.append(lease.job.id)
        return claimed

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(work, range(4)))

    everything = [job for share in shares for job in share]
    assert len(everything) == 40
    assert set(everything) == ids


def test_a_cancel_and_a_claim_have_one_winner(store: JobStore) -> None:
    """Whoever comes first has the job, and the other one is told so."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            job_id = submit(store).id
            start = Barrier(2)
            claimed = pool.submit(lambda b: (b.wait(), store.claim("w"))[1], start)
            cancelled = pool.submit(lambda b, j: (b.wait(), store.cancel(j))[1], start, job_id)
            won = claimed.result() is not None

            seen = cancelled.result()
            assert seen is not None
            assert (seen.state is State.CANCELLED) is not won
            assert state_of(store, job_id) is (State.IN_PROGRESS if won else State.CANCELLED)


def test_positions_count_to_a_thousand(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far back in the queue the position says a thousand, which means that or more."""
    monkeypatch.setattr(table, "MOST_PLACES", 50)
    last = [submit(store).id for _ in range(53)][-1]
    assert MOST_PLACES == 1000
    assert (store.position(last), store.waiting(), store.waiting(most=10)) == (50, 53, 10)


def test_a_large_input_is_kept_apart_from_its_row(
    store: JobStore, asked: VideoToVideoInput
) -> None:
    """A heartbeat's row does not carry the body, however large that is."""
    large = asked.model_copy(update={"video_url": "data:video/mp4;base64," + "A" * 1_000_000})
    job_id = submit(store, input=large).id

    assert isinstance(store, JobTable)
    row = dict(store._database.read("get", id=job_id)[0])

    assert sum(len(str(value)) for value in row.values()) < 1000
    assert claim(store).input == large


def test_each_change_that_shows_is_a_new_version(store: JobStore) -> None:
    """Version grows with state, progress, warnings and a cancel that is asked for, not else."""
    job_id = submit(store).id
    seen = [found(store, job_id).version]

    def note() -> None:
        seen.append(found(store, job_id).version)

    token = claim(store).token
    note()
    for progress in (PROGRESS, PROGRESS, None):
        store.heartbeat(job_id, token, progress)
        note()
    store.heartbeat(job_id, token, None, (WARNING,))
    note()
    for _ in range(2):
        store.cancel(job_id, running=True)
        note()
    store.stop(job_id, token)
    note()

    assert seen == [1, 2, 3, 3, 3, 4, 5, 5, 6]


def test_a_running_job_stops_where_asked(store: JobStore, clock: Clock) -> None:
    """The worker hears of a cancel by its heartbeat, and stops; only then is the job cancelled."""
    job_id = submit(store).id
    token = claim(store).token
    assert not store.stop(job_id, token)

    after = store.cancel(job_id, running=True)

    assert after is not None
    assert (after.state, after.cancel_asked) == (State.IN_PROGRESS, True)
    assert store.heartbeat(job_id, token) is Beat.CANCELLING
    assert [store.stop(job_id, token) for _ in range(2)] == [True, True]
    job = found(store, job_id)
    assert (job.state, job.failure, job.progress) == (State.CANCELLED, None, None)
    assert store.heartbeat(job_id, token) is Beat.LOST


def test_a_cancel_without_running_leaves_a_running_job_alone(store: JobStore) -> None:
    """Asked to withdraw a queued job only, nothing of a running one changes."""
    submit(store)
    lease = claim(store)

    assert store.cancel(lease.job.id) == lease.job
    assert store.heartbeat(lease.job.id, lease.token) is Beat.HELD


@pytest.mark.parametrize("end", ["succeed", "fail", "release", "lose"])
def test_whatever_ends_a_job_that_is_to_be_cancelled_cancels_it(
    end: str, store: JobStore, clock: Clock
) -> None:
    """A worker that was done before it heard of the cancel is told "done"; nothing is kept."""
    job_id = submit(store).id
    token = claim(store).token
    store.cancel(job_id, running=True)
    if end == "lose":
        clock.advance(LEASE_S + 1)
        assert [job.state for job in store.reap()] == [State.CANCELLED]
        assert not store.stop(job_id, token)
    else:
        ends = {
            "succeed": lambda: store.succeed(job_id, token, make_outcome()),
            "fail": lambda: store.fail(job_id, token, FAILURE),
            "release": lambda: store.release(job_id, token),
        }
        assert [ends[end]() for _ in range(2)] == [True, True]

    job = found(store, job_id)
    assert (job.state, job.outcome, job.failure) == (State.CANCELLED, None, None)
    assert store.claim("worker-1") is None


def test_a_job_that_does_not_start_in_time_is_cancelled(store: JobStore, clock: Clock) -> None:
    """From its deadline on no worker gets it, and the reaper says why it ended."""
    late = submit(store, start_within_s=30).id
    patient = submit(store).id
    clock.advance(31)

    assert claim(store).job.id == patient
    assert [job.id for job in store.reap()] == [late]
    job = found(store, late)
    assert (job.state, job.failure and job.failure.code) == (State.CANCELLED, "deadline_exceeded")
    assert store.reap() == []


def test_a_deadline_is_over_once_a_job_has_started(store: JobStore, clock: Clock) -> None:
    """A job that was claimed in time and lost is tried again; one handed back never started."""
    lost, returned = (submit(store, start_within_s=30).id for _ in range(2))
    claim(store)
    token = claim(store).token
    assert store.release(returned, token)
    clock.advance(LEASE_S + 1)

    ended = {job.id: job.state for job in store.reap()}

    assert ended == {lost: State.IN_QUEUE, returned: State.CANCELLED}
    assert claim(store).job.id == lost


def test_the_same_key_and_body_are_the_same_request(store: JobStore, clock: Clock) -> None:
    """Within a day the first job is answered, whatever became of it; then a new one is made."""
    once = Idempotency("order-1", "body-1")

    def send() -> tuple[str, bool]:
        new = NewJob(model_id="m", key_id="k", input=ASKED, idempotency=once)
        answer = store.submit(new)
        return answer.job.id, answer.replayed

    first, replayed = send()
    assert not replayed
    store.cancel(first)
    clock.advance(24 * 3600 - 1)
    assert send() == (first, True)
    clock.advance(1)
    second, replayed = send()
    assert (second == first, replayed) == (False, False)
    assert send() == (second, True)
    assert submit(store, "another key", idempotency=once).id not in {first, second}


def test_the_same_key_with_another_body_is_refused(store: JobStore) -> None:
    """The sentence names the key; nothing is queued."""
    submit(store, idempotency=Idempotency("order-1", "body-1"))

    with pytest.raises(IdempotencyConflictError, match="'order-1' was sent with another body"):
        submit(store, idempotency=Idempotency("order-1", "body-2"))
    assert store.waiting() == 1


def test_what_a_key_stands_for_is_found_without_a_submit(store: JobStore, clock: Clock) -> None:
    """For a day, for its owner, with its body."""
    once = Idempotency("order-1", "body-1")
    assert store.replay("k", once) is None
    made = store.submit(NewJob(model_id="m", key_id="k", input=ASKED, idempotency=once)).job
    assert store.replay("k", once) == made
    assert store.replay("another key", once) is None
    with pytest.raises(IdempotencyConflictError):
        store.replay("k", Idempotency("order-1", "body-2"))
    clock.advance(24 * 3600)
    assert store.replay("k", once) is None


def test_requests_that_race_under_one_key_make_one_job(store: JobStore) -> None:
    """Eight at once are answered with the same job, and one of them made it."""
    start = Barrier(8)

    def send(_: int) -> tuple[str, bool]:
        start.wait()
        new = NewJob(
            model_id="m", key_id="k", input=ASKED, idempotency=Idempotency("order-1", "body")
        )
        answer = store.submit(new)
        return answer.job.id, answer.replayed

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))

    assert len({job_id for job_id, _ in answers}) == 1
    assert sorted(replayed for _, replayed in answers) == [False] + 7 * [True]
    assert store.waiting() == 1


def test_a_submit_that_is_sent_again_makes_one_job(store: JobStore) -> None:
    """The id is the caller's: after a lost answer the same submit finds what it did."""
    new = NewJob(model_id="m", key_id="k", input=ASKED)

    first, again = store.submit(new), store.submit(new)

    assert first == again
    assert store.waiting() == 1


def test_a_key_lists_its_own_jobs(store: JobStore) -> None:
    """Newest first, a page at a time, of one state or of all."""
    mine = [submit(store, "me").id for _ in range(5)]
    submit(store, "you")
    store.cancel(mine[1])

    page = store.list("me", limit=2)
    rest = store.list("me", before=page[-1].seq, limit=10)

    assert [job.id for job in [*page, *rest]] == mine[::-1]
    assert [job.id for job in store.list("me", state=State.CANCELLED, limit=9)] == [mine[1]]
    assert store.list("nobody", limit=9) == []


def test_a_keys_submits_and_waiting_jobs_are_counted(store: JobStore, clock: Clock) -> None:
    """Submits by time, whatever became of the jobs; waiting ones over all pools."""
    submit(store)
    clock.advance(30)
    submit(store, pool="other")
    submit(store, "another key")
    claim(store)

    assert (store.submitted_since("k", 60), store.submitted_since("k", 30)) == (2, 1)
    assert store.queued_of("k") == 1


def test_a_restart_keeps_every_job(open_store: OpenStore) -> None:
    """Closed and opened again, the table holds the same jobs in the same order."""
    store = open_store()
    ids = [submit(store).id for _ in range(3)]
    store.succeed(ids[0], claim(store).token, make_outcome())
    before = [store.get(job) for job in ids]
    store.close()

    store = open_store()

    assert [store.get(job) for job in ids] == before
    assert [claim(store).job.id for _ in range(2)] == ids[1:]


def test_a_worker_that_outlives_the_server_keeps_its_job(
    open_store: OpenStore, clock: Clock, outcome: Outcome
) -> None:
    """A lease that ran out while no server was there to prolong it is not held against it."""
    store = open_store()
    job_id = submit(store).id
    token = claim(store).token
    store.close()
    clock.advance(10 * LEASE_S)

    store = open_store()

    assert store.reap() == []
    assert store.succeed(job_id, token, outcome)

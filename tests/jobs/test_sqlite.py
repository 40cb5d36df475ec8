"""The job table's promises, on a clock that moves only when told."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from rotoscope.errors import OperatorError
from rotoscope.jobs.job import Job, Lease, State
from rotoscope.jobs.sqlite import FILE_NAME, SqliteJobStore
from rotoscope.jobs.store import Beat, NewJob
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment, Failure, Outcome, Progress
from tests.jobs.conftest import LEASE_S, Clock, OpenStore

PROGRESS = Progress(
    stage="denoise", stages=["fetch", "denoise"], step=3, steps=8, fraction=0.5, eta_s=4.0
)
WARNING = Adjustment(field="num_frames", asked=120, used=121, why="snapped to 8k+1")


def claim(store: SqliteJobStore) -> Lease:
    lease = store.claim("worker-1")
    assert lease is not None
    return lease


def submit(store: SqliteJobStore, asked: VideoToVideoInput) -> Job:
    return store.submit(NewJob(model_id="m", key_id="k", input=asked)).job


def state_of(store: SqliteJobStore, job_id: str) -> State:
    job = store.get(job_id)
    assert job is not None
    return job.state


def test_a_submitted_job_reads_back_as_it_was(
    store: SqliteJobStore, asked: VideoToVideoInput, clock: Clock
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


def test_an_unknown_job_is_none(store: SqliteJobStore) -> None:
    """Asking for what was never submitted is answered, not raised."""
    assert store.get("nothing") is None
    assert store.position("nothing") is None
    assert store.cancel("nothing") is None


def test_first_in_first_out(store: SqliteJobStore, asked: VideoToVideoInput) -> None:
    """Jobs are claimed in the order in which they were submitted."""
    ids = [submit(store, asked).id for _ in range(5)]

    assert [claim(store).job.id for _ in ids] == ids
    assert store.claim("worker-1") is None


def test_positions_start_at_one_and_move_up(
    store: SqliteJobStore, asked: VideoToVideoInput
) -> None:
    """The next job is at 1; a claim moves the others up and takes the claimed one's place away."""
    first, second, third = (submit(store, asked).id for _ in range(3))
    assert [store.position(job) for job in (first, second, third)] == [1, 2, 3]

    claim(store)

    assert [store.position(job) for job in (first, second, third)] == [None, 1, 2]
    assert store.waiting() == 2


def test_a_claim_hands_over_the_input_as_it_was_sent(
    store: SqliteJobStore, asked: VideoToVideoInput
) -> None:
    """The worker gets the very input of the submit, under a token of its own."""
    submit(store, asked)
    submit(store, asked)

    one, two = claim(store), claim(store)

    assert one.input == two.input == asked
    assert one.token != two.token
    assert (one.job.state, one.job.attempt) == (State.IN_PROGRESS, 1)


def test_a_heartbeat_notes_progress_and_warnings(
    store: SqliteJobStore, asked: VideoToVideoInput
) -> None:
    """What a worker tells is read by everyone, and stays when the next beat tells nothing."""
    job_id = submit(store, asked).id
    token = claim(store).token

    assert store.heartbeat(job_id, token, PROGRESS, (WARNING,)) is Beat.HELD
    assert store.heartbeat(job_id, token) is Beat.HELD

    job = store.get(job_id)
    assert job is not None
    assert (job.progress, job.warnings) == (PROGRESS, (WARNING,))


def test_heartbeats_keep_a_lease_alive(
    store: SqliteJobStore, asked: VideoToVideoInput, clock: Clock
) -> None:
    """A job that is heard of within each lease is never given to another."""
    job_id = submit(store, asked).id
    token = claim(store).token
    for _ in range(5):
        clock.advance(LEASE_S - 1)
        assert store.reap() == []
        assert store.heartbeat(job_id, token) is Beat.HELD


def test_success_ends_a_job_with_its_outcome(
    store: SqliteJobStore, asked: VideoToVideoInput, outcome: Outcome, clock: Clock
) -> None:
    """A finished job keeps what was made, its warnings and its times, and no progress."""
    job_id = submit(store, asked).id
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


def test_failure_ends_a_job_with_its_reason(
    store: SqliteJobStore, asked: VideoToVideoInput, failure: Failure
) -> None:
    """A model's error is final: the job is not tried again."""
    job_id = submit(store, asked).id
    assert store.fail(job_id, claim(store).token, failure)

    job = store.get(job_id)
    assert job is not None
    assert (job.state, job.failure) == (State.FAILED, failure)
    assert store.waiting() == 0


def test_a_repeated_end_is_answered_as_done(
    store: SqliteJobStore, asked: VideoToVideoInput, outcome: Outcome, failure: Failure
) -> None:
    """A worker that lost the answer may ask again, but not for another end."""
    good, bad = (submit(store, asked).id for _ in range(2))
    good_token, bad_token = claim(store).token, claim(store).token
    for _ in range(2):
        assert store.succeed(good, good_token, outcome)
        assert store.fail(bad, bad_token, failure)

    assert not store.fail(good, good_token, failure)
    assert not store.succeed(bad, bad_token, outcome)
    assert not store.release(good, good_token)


def test_a_released_job_returns_to_its_place(
    store: SqliteJobStore, asked: VideoToVideoInput
) -> None:
    """Release puts a job back at its old place, its attempt not counted, however often said."""
    first, second = (submit(store, asked).id for _ in range(2))
    token = claim(store).token

    assert store.release(first, token)
    assert store.release(first, token)

    job = store.get(first)
    assert job is not None
    assert (job.state, job.attempt, store.position(first)) == (State.IN_QUEUE, 0, 1)
    assert store.position(second) == 2


def test_a_lost_lease_goes_to_the_next_worker(
    store: SqliteJobStore, asked: VideoToVideoInput, clock: Clock, outcome: Outcome
) -> None:
    """A silent worker's job is queued at its old place, and its late calls change nothing."""
    first, second = (submit(store, asked).id for _ in range(2))
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


def test_a_job_is_lost_only_so_often(
    open_store: OpenStore, asked: VideoToVideoInput, clock: Clock, failure: Failure
) -> None:
    """After its last attempt a lost job fails as worker_lost, and stays so."""
    store = open_store(max_attempts=3)
    job_id = submit(store, asked).id
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


def test_only_queued_jobs_are_cancelled(
    store: SqliteJobStore, asked: VideoToVideoInput, outcome: Outcome
) -> None:
    """A cancel changes a queued job and no other, and says which it was."""
    running, queued = (submit(store, asked).id for _ in range(2))
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


def test_racing_claimers_share_no_job(store: SqliteJobStore, asked: VideoToVideoInput) -> None:
    """Four workers that claim at once get each job exactly once."""
    ids = {submit(store, asked).id for _ in range(40)}
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


def test_a_cancel_and_a_claim_have_one_winner(
    store: SqliteJobStore, asked: VideoToVideoInput
) -> None:
    """Whoever comes first has the job, and the other one is told so."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            job_id = submit(store, asked).id
            start = Barrier(2)
            claimed = pool.submit(lambda b: (b.wait(), store.claim("w"))[1], start)
            cancelled = pool.submit(lambda b, j: (b.wait(), store.cancel(j))[1], start, job_id)
            won = claimed.result() is not None

            seen = cancelled.result()
            assert seen is not None
            assert (seen.state is State.CANCELLED) is not won
            assert state_of(store, job_id) is (State.IN_PROGRESS if won else State.CANCELLED)


def test_a_restart_keeps_every_job(
    open_store: OpenStore, asked: VideoToVideoInput, outcome: Outcome, clock: Clock
) -> None:
    """Closed and opened again, the table holds the same jobs in the same order."""
    store = open_store()
    ids = [submit(store, asked).id for _ in range(3)]
    lease = claim(store)
    store.succeed(ids[0], lease.token, outcome)
    before = [store.get(job) for job in ids]
    store.close()

    store = open_store()

    assert [store.get(job) for job in ids] == before
    assert [claim(store).job.id for _ in range(2)] == ids[1:]


def test_a_worker_that_outlives_the_server_keeps_its_job(
    open_store: OpenStore, asked: VideoToVideoInput, clock: Clock, outcome: Outcome
) -> None:
    """A lease that ran out while the server was away is prolonged once at start."""
    store = open_store()
    job_id = submit(store, asked).id
    token = claim(store).token
    store.close()
    clock.advance(10 * LEASE_S)

    store = open_store()

    assert store.reap() == []
    assert store.succeed(job_id, token, outcome)


def test_a_second_owner_is_refused(store: SqliteJobStore, tmp_path: Path) -> None:
    """The same folder cannot be opened twice, and the sentence says what to change."""
    with pytest.raises(OperatorError, match=r"Another Rotoscope server uses .*data_dir"):
        SqliteJobStore(tmp_path / "data", lease_s=1, max_attempts=1)


def test_a_closed_store_gives_its_folder_back(open_store: OpenStore) -> None:
    """Once closed, the folder can be opened again."""
    open_store().close()
    assert open_store().waiting() == 0


def test_a_table_of_another_version_is_refused(open_store: OpenStore, tmp_path: Path) -> None:
    """A file of a newer release is left alone, with a sentence that names both versions."""
    open_store().close()
    with sqlite3.connect(tmp_path / "data" / FILE_NAME) as file:
        file.execute("UPDATE schema_version SET version = 99")
    file.close()

    with pytest.raises(OperatorError, match="schema version 99, this Rotoscope needs 2"):
        open_store()


def test_a_file_that_is_no_database_is_refused(open_store: OpenStore, tmp_path: Path) -> None:
    """What is not a job table is not overwritten."""
    file = tmp_path / "data" / FILE_NAME
    file.parent.mkdir()
    file.write_bytes(b"something else entirely" * 100)

    with pytest.raises(OperatorError, match="cannot be used as a job table"):
        open_store()
    assert file.read_bytes().startswith(b"something else")


def test_the_table_is_on_disk_before_an_answer(store: SqliteJobStore) -> None:
    """Each commit is flushed to disk, in write-ahead mode."""
    assert store.database.writer.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert store.database.writer.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_positions_count_to_a_thousand(store: SqliteJobStore, asked: VideoToVideoInput) -> None:
    """Far back in the queue the position says a thousand, which means that or more."""
    store.database.writer.execute("PRAGMA synchronous = OFF")
    last = [submit(store, asked).id for _ in range(1003)][-1]
    assert (store.position(last), store.waiting()) == (1000, 1003)


def test_a_large_input_is_kept_apart_from_its_row(
    store: SqliteJobStore, asked: VideoToVideoInput
) -> None:
    """A heartbeat's row does not carry the body, however large that is."""
    large = asked.model_copy(update={"video_url": "data:video/mp4;base64," + "A" * 1_000_000})
    job_id = submit(store, large).id

    row = store.database.reader.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()

    assert sum(len(str(value)) for value in row) < 1000
    assert claim(store).input == large

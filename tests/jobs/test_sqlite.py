"""What is the embedded database's own: its file, its owner, its older versions."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rotoscope.errors import OperatorError
from rotoscope.jobs.job import State
from rotoscope.jobs.sqlite import FILE_NAME, SqliteJobStore, steady_clock
from rotoscope.jobs.store import Webhook
from tests.jobs.conftest import ASKED, FAILURE, LEASE_S, claim, found, make_outcome, submit

OpenHere = Callable[[], SqliteJobStore]
NOW = 1_800_000_000.0


@pytest.fixture
def open_here(tmp_path: Path) -> Iterator[OpenHere]:
    """Opens the store of this test's folder; closed when the test ends."""
    with ExitStack() as stack:

        def open_one() -> SqliteJobStore:
            return stack.enter_context(
                SqliteJobStore(tmp_path, lease_s=LEASE_S, max_attempts=2, clock=lambda: NOW)
            )

        yield open_one


@pytest.fixture
def old_file(tmp_path: Path) -> sqlite3.Connection:
    """A file of version 1 with no jobs; closed by whoever has filled it."""
    file = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    file.executescript((Path(__file__).parent / "schema_1.sql").read_text(encoding="utf-8"))
    return file


def test_a_second_owner_is_refused(open_here: OpenHere) -> None:
    """The same folder cannot be opened twice, and the sentence says what to change."""
    open_here()
    with pytest.raises(OperatorError, match=r"Another Rotoscope server uses .*data_dir"):
        open_here()


def test_a_closed_store_gives_its_folder_back(open_here: OpenHere) -> None:
    """Once closed, the folder can be opened again."""
    open_here().close()
    assert open_here().waiting() == 0


def test_a_table_of_a_newer_version_is_refused(open_here: OpenHere, tmp_path: Path) -> None:
    """A file of a newer release is left alone, with a sentence that names both versions."""
    open_here().close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file, file:
        file.execute("UPDATE schema_version SET version = 99")

    with pytest.raises(OperatorError, match="schema version 99, this Rotoscope needs 2"):
        open_here()


def test_a_table_of_an_older_version_is_upgraded(
    open_here: OpenHere, old_file: sqlite3.Connection
) -> None:
    """Every job of version 1 is there afterwards as it was, and the queue goes on in its order."""
    _fill(old_file)
    old_file.close()

    store = open_here()

    assert [found(store, job).state for job in ("a", "b", "c", "d")] == [
        State.SUCCEEDED,
        State.IN_PROGRESS,
        State.IN_QUEUE,
        State.IN_QUEUE,
    ]
    ended = found(store, "a")
    assert ended.outcome == make_outcome()
    assert ended.finished_at is not None
    assert ended.expires_at is not None
    assert (ended.expires_at - ended.finished_at).days == 7
    assert store.fail("b", "token-b", FAILURE)
    new = submit(store, "another key").id
    assert [store.position(job) for job in ("c", "d", new)] == [1, 2, 3]
    leases = [claim(store) for _ in range(3)]
    assert [lease.job.id for lease in leases] == ["c", "d", new]
    assert leases[0].input == ASKED
    assert found(store, new).seq > found(store, "d").seq


def test_an_upgrade_that_fails_changes_nothing(
    open_here: OpenHere, old_file: sqlite3.Connection, tmp_path: Path
) -> None:
    """The old file is as it was, for the release that wrote it."""
    _fill(old_file)
    old_file.execute("CREATE TABLE pools (something TEXT)")
    before = old_file.execute("SELECT * FROM jobs").fetchall()
    old_file.close()

    with pytest.raises(OperatorError, match="cannot be used as a job table"):
        open_here()

    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as file:
        assert file.execute("SELECT version FROM schema_version").fetchone() == (1,)
        assert file.execute("SELECT * FROM jobs").fetchall() == before


def test_a_file_that_is_no_database_is_refused(open_here: OpenHere, tmp_path: Path) -> None:
    """What is not a job table is not overwritten."""
    file = tmp_path / FILE_NAME
    file.write_bytes(b"something else entirely" * 100)

    with pytest.raises(OperatorError, match="cannot be used as a job table"):
        open_here()
    assert file.read_bytes().startswith(b"something else")


def test_the_table_is_on_disk_before_an_answer(open_here: OpenHere) -> None:
    """Each commit is flushed to disk, in write-ahead mode."""
    writer = open_here().database.writer
    assert writer.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert writer.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert writer.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def _fill(file: sqlite3.Connection) -> None:
    """Four jobs of version 1: one succeeded, one running, two queued."""
    for job, state, more in (
        ("a", "succeeded", {"finished_at": NOW - 60, "outcome": make_outcome().model_dump_json()}),
        ("b", "in_progress", {"token": "token-b", "lease_until": NOW - 5, "attempt": 1}),
        ("c", "in_queue", {}),
        ("d", "in_queue", {}),
    ):
        row = {
            "id": job,
            "model_id": "m",
            "key_id": "k",
            "state": state,
            "max_attempts": 2,
            "created_at": NOW - 100,
            "warnings": "[]",
            **more,
        }
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        file.execute(f"INSERT INTO jobs ({names}) VALUES ({values})", row)  # noqa: S608 - our own
        file.execute("INSERT INTO inputs VALUES (?, ?)", (job, ASKED.model_dump_json()))


def test_a_clock_that_is_set_back_keeps_no_lease_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock is read once, when the store is opened; from then on time only passes."""
    hour_s = 3600.0
    clock = steady_clock()
    before, real = clock(), time.time
    monkeypatch.setattr(time, "time", lambda: real() - hour_s)
    assert before <= clock() < before + hour_s / 2
    assert abs(clock() - real()) < hour_s / 2
    assert abs(steady_clock()() - time.time()) < hour_s / 2, "a new one begins anew"


def test_a_restart_on_a_clock_that_was_set_back_waits_for_nothing(tmp_path: Path) -> None:
    """Webhooks go out at once, and a lost worker's lease is over after one lease."""
    now = NOW + 3600

    def opened() -> SqliteJobStore:
        return SqliteJobStore(tmp_path, lease_s=LEASE_S, max_attempts=2, clock=lambda: now)

    with closing(opened()) as store:
        for _ in range(3):
            submit(store, webhook=Webhook("https://example.org/hook"))
        for lease in (claim(store), claim(store)):
            assert store.fail(lease.job.id, lease.token, FAILURE)
        sent = store.take_delivery(LEASE_S)
        lost = claim(store).job.id

    now = NOW
    with closing(opened()) as store:
        taken = [store.take_delivery(LEASE_S), store.take_delivery(LEASE_S)]
        assert sent
        assert sent.id in {one.id for one in taken if one}
        assert None not in taken
        assert store.take_delivery(LEASE_S) is None
        now += LEASE_S + 1
        assert [job.id for job in store.reap()] == [lost]

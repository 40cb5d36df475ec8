"""No call sequence leaves the diagram that jobs/job.py draws."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotoscope.jobs.job import TRANSITIONS, Job, State
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import NewJob
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Failure, Outcome
from tests.jobs.conftest import LEASE_S, Clock


class Table:
    """A store with one job, and the tokens of its claims."""

    def __init__(self, folder: str, asked: VideoToVideoInput) -> None:
        self.clock = Clock()
        self.store = SqliteJobStore(Path(folder), lease_s=LEASE_S, max_attempts=2, clock=self.clock)
        self.store.database.writer.execute("PRAGMA synchronous = OFF")
        self.id = self.store.submit(NewJob(model_id="m", key_id="k", input=asked)).job.id
        self.tokens = ["never given"]

    def job(self) -> Job:
        job = self.store.get(self.id)
        assert job is not None
        return job

    def claim(self) -> None:
        if lease := self.store.claim("w"):
            self.tokens.append(lease.token)

    def lose(self) -> None:
        self.clock.advance(LEASE_S + 1)
        self.store.reap()


Action = Callable[[Table, str, Outcome, Failure], object]

ACTIONS: dict[str, Action] = {
    "claim": lambda table, token, outcome, failure: table.claim(),
    "lose": lambda table, token, outcome, failure: table.lose(),
    "reap": lambda table, token, outcome, failure: table.store.reap(),
    "cancel": lambda table, token, outcome, failure: table.store.cancel(table.id),
    "heartbeat": lambda table, token, outcome, failure: table.store.heartbeat(table.id, token),
    "release": lambda table, token, outcome, failure: table.store.release(table.id, token),
    "succeed": lambda table, token, outcome, failure: table.store.succeed(table.id, token, outcome),
    "fail": lambda table, token, outcome, failure: table.store.fail(table.id, token, failure),
}

CALLS = st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 3)), max_size=10)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(calls=CALLS)
def test_no_sequence_of_calls_leaves_the_diagram(
    calls: list[tuple[str, int]], asked: VideoToVideoInput, outcome: Outcome, failure: Failure
) -> None:
    """Whatever is called, with whichever token, a job follows the arrows or stays as it was."""
    with TemporaryDirectory() as folder:
        table = Table(folder, asked)
        for name, claim in calls:
            before = table.job()
            ACTIONS[name](table, table.tokens[-1 - claim % len(table.tokens)], outcome, failure)
            _check_step(before, table.job())
        table.store.close()


def _check_step(before: Job, after: Job) -> None:
    assert after.state is before.state or after.state in TRANSITIONS[before.state]
    assert 0 <= after.attempt <= 2
    if not TRANSITIONS[before.state]:
        assert after == before
    assert (after.outcome is not None) == (after.state is State.SUCCEEDED)
    assert (after.failure is not None) == (after.state is State.FAILED)


def test_every_state_is_drawn() -> None:
    """The table of transitions has a row for every state."""
    assert set(TRANSITIONS) == set(State)

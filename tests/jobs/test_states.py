"""No walk of calls leaves the diagram that jobs/job.py draws, on either engine."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rotoscope.jobs.job import TRANSITIONS, Job, State
from rotoscope.jobs.postgres import PostgresJobStore
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import Beat, JobStore
from tests.jobs.conftest import FAILURE, LEASE_S, Clock, found, make_outcome, submit

MOST_ATTEMPTS = 2
EMPTY = [f"DELETE FROM {name}" for name in ("deliveries", "inputs", "jobs", "pools")]  # noqa: S608
OUTCOME = make_outcome()
places = st.integers(0, 1)
verbs = st.sampled_from(["heartbeat", "succeed", "fail", "release", "stop"])


@dataclass
class Model:
    """What a job ought to be."""

    id: str
    start_by: float | None
    state: State = State.IN_QUEUE
    attempt: int = 0
    cancel_asked: bool = False
    lease_until: float = 0
    token: str = ""
    """Of the attempt that holds the job, or ended it."""

    def end(self, state: State) -> None:
        """By its worker; a cancel that was asked for comes first."""
        self.state = State.CANCELLED if self.cancel_asked else state


@dataclass
class Bench:
    store: JobStore
    clock: Clock
    empty: Callable[[], None]


@dataclass
class Walk:
    """Every job of one walk, the oldest first, and every token that was ever given."""

    jobs: list[Model] = field(default_factory=list)
    tokens: list[tuple[Model, str]] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """One key in one pool, so that the order of claims is that of the submits."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        bench.empty()
        self.store = bench.store
        self.clock = bench.clock
        self.walk = Walk()
        self.before: dict[str, Job] = {}

    @initialize()
    def begin(self) -> None:
        """Half of the verbs need a job that runs."""
        self.submit(None)
        self.claim()

    @rule(within=st.sampled_from([None, 30.0]))
    def submit(self, within: float | None) -> None:
        job = submit(self.store, start_within_s=within)
        self.walk.jobs.append(Model(job.id, within and self.clock.now + within))

    @rule()
    def claim(self) -> None:
        lease = self.store.claim("w")
        ready = [job for job in self.walk.jobs if job.state is State.IN_QUEUE]
        ready = [job for job in ready if not self._late(job) or job.attempt]
        assert (lease and lease.job.id) == (ready[0].id if ready else None)
        if lease:
            job = ready[0]
            job.state, job.attempt, job.token = State.IN_PROGRESS, job.attempt + 1, lease.token
            job.lease_until = self.clock.now + LEASE_S
            self.walk.tokens.append((job, lease.token))

    @precondition(lambda self: self.walk.tokens)
    @rule(verb=verbs, place=places)
    def tell(self, verb: str, place: int) -> None:
        """What a worker says, with the token that it was given once."""
        job, token = self.walk.tokens[-1 - place % len(self.walk.tokens)]
        getattr(self, f"_{verb}")(job, token)

    @precondition(lambda self: self.walk.jobs)
    @rule(place=places, running=st.booleans())
    def cancel(self, place: int, running: bool) -> None:
        job = self.walk.jobs[-1 - place % len(self.walk.jobs)]
        if job.state is State.IN_QUEUE:
            job.state = State.CANCELLED
        elif job.state is State.IN_PROGRESS and running:
            job.cancel_asked = True
        after = self.store.cancel(job.id, running=running)
        assert after == found(self.store, job.id)

    @rule(seconds=st.sampled_from([0.0, 10.0, LEASE_S + 1]), then=st.booleans())
    def wait(self, seconds: float, then: bool) -> None:
        self.clock.advance(seconds)
        if then:
            changed = {job.id for job in self.walk.jobs if self._reaped(job)}
            assert {job.id for job in self.store.reap()} == changed

    @precondition(lambda self: self.walk.tokens)
    @rule(verb=verbs)
    def change_hands(self, verb: str) -> None:
        """A worker is lost, another one takes over: what the first one says then is too late."""
        job, token = self.walk.tokens[-1]
        self.wait(LEASE_S + 1, then=True)
        self.claim()
        getattr(self, f"_{verb}")(job, token)

    @invariant()
    def every_job_is_as_it_ought_to_be(self) -> None:
        for model in self.walk.jobs:
            job = found(self.store, model.id)
            assert (job.state, job.attempt) == (model.state, model.attempt)
            assert job.cancel_asked == model.cancel_asked
            self._check_step(self.before.get(job.id), job)
            self.before[job.id] = job

    def _check_step(self, before: Job | None, job: Job) -> None:
        assert 0 <= job.attempt <= MOST_ATTEMPTS
        assert (job.outcome is not None) == (job.state is State.SUCCEEDED)
        assert job.failure is not None or job.state is not State.FAILED
        assert (job.finished_at is not None) == job.ended
        if before is None:
            return
        assert job.state is before.state or job.state in TRANSITIONS[before.state]
        assert job == before if before.ended else job.version >= before.version
        assert job.version > before.version or job.state is before.state

    def _heartbeat(self, job: Model, token: str) -> None:
        beat = self.store.heartbeat(job.id, token)
        if not self._holds(job, token):
            assert beat is Beat.LOST
            return
        assert beat is (Beat.CANCELLING if job.cancel_asked else Beat.HELD)
        job.lease_until = self.clock.now + LEASE_S

    def _succeed(self, job: Model, token: str) -> None:
        self._settle(job, token, State.SUCCEEDED, self.store.succeed(job.id, token, OUTCOME))

    def _fail(self, job: Model, token: str) -> None:
        self._settle(job, token, State.FAILED, self.store.fail(job.id, token, FAILURE))

    def _release(self, job: Model, token: str) -> None:
        held = self._holds(job, token)
        self._settle(job, token, State.IN_QUEUE, self.store.release(job.id, token))
        job.attempt -= held

    def _stop(self, job: Model, token: str) -> None:
        done = self.store.stop(job.id, token)
        if self._holds(job, token) and job.cancel_asked:
            job.state = State.CANCELLED
        assert done == (job.token == token and job.state is State.CANCELLED)

    def _holds(self, job: Model, token: str) -> bool:
        return job.state is State.IN_PROGRESS and job.token == token

    def _late(self, job: Model) -> bool:
        return job.start_by is not None and job.start_by <= self.clock.now

    def _settle(self, job: Model, token: str, state: State, done: bool) -> None:
        if self._holds(job, token):
            job.end(state)
        assert done == (job.token == token and job.state in {state, State.CANCELLED})

    def _reaped(self, job: Model) -> bool:
        """What the reaper ought to do to a job; whether it does anything."""
        if job.state is State.IN_QUEUE and self._late(job) and not job.attempt:
            job.state = State.CANCELLED
            return True
        if job.state is State.IN_PROGRESS and job.lease_until < self.clock.now:
            job.end(State.FAILED if job.attempt == MOST_ATTEMPTS else State.IN_QUEUE)
            job.token = ""
            return True
        return False


def test_no_walk_of_calls_leaves_the_diagram(store: JobStore, clock: Clock) -> None:
    """Whatever is called, in whatever order, each job is what a model of it says."""
    bench = Bench(store, clock, lambda: _empty(store))
    run_state_machine_as_test(
        lambda: Machine(bench),
        settings=settings(max_examples=60, stateful_step_count=30, deadline=None),
    )


def test_every_state_is_drawn() -> None:
    """The table of transitions has a row for every state."""
    assert set(TRANSITIONS) == set(State)


def _empty(store: JobStore) -> None:
    for statement in EMPTY:
        if isinstance(store, SqliteJobStore):
            store.database.writer.execute(statement)
        elif isinstance(store, PostgresJobStore):
            store.database.pool.run(statement)

"""Two jobs of one worker: one has the model, the other is fetched and read, or stored."""

import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Condition, Event, Lock, Thread
from typing import Any

import httpx2
import pytest
import structlog

from rotoscope.generation.pipeline import Generated
from rotoscope.generation.plan import Plan
from rotoscope.schema.worker import Assignment, Succeed
from rotoscope.settings import Settings
from rotoscope.worker import loop, run
from rotoscope.worker.loop import DeviceLostError, do_jobs, overlaps
from rotoscope.worker.progress import LAST_PART, Report
from rotoscope.worker.run import Bench
from rotoscope.worker.stop import Stop
from tests.media.conftest import make_video
from tests.worker.stand_in_model import StandIn
from tests.worker.stand_ins import Server, make_job

PATIENCE_S = 100
ENDS = ("succeed", "fail", "release", "stop")
Act = Callable[[], httpx2.Response | None]
Hook = Callable[[Callable[[], None]], None]


def job(name: str, **fields: object) -> Assignment:
    """A small one, whose prompt and id are `name`."""
    made = make_job(
        prompt=name,
        video_url="rotoscope://uploads/v",
        video_size={"width": 64, "height": 64},
        num_frames=9,
        match_video_length=False,
        video_quality="low",
        **fields,
    )
    return made.model_copy(update={"request_id": name})


def call_of(request: httpx2.Request) -> tuple[str, str]:
    """What is called, and the job that it is about."""
    parts = request.url.path.split("/")
    return (parts[3], "") if parts[3] != "jobs" else (parts[5], parts[4])


@dataclass
class Told(Server):
    """Which job each call was about; `on` does something before a call is answered."""

    told: list[tuple[str, str]] = field(default_factory=list)
    on: dict[tuple[str, str], Act] = field(default_factory=dict)
    changed: Condition = field(default_factory=Condition)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        call = call_of(request)
        if call[0] == "claim" and not self.jobs:
            Event().wait(0.01)
        act = self.on.get(call)
        answer = (act and act()) or super().handle(request)
        if call[0] == "heartbeat":
            progress = json.loads(request.read())["progress"] or {"stage": ""}
            self.note(f"at {progress['stage']}", call[1])
        self.note(*call)
        return answer

    def note(self, what: str, name: str) -> None:
        with self.changed:
            self.told.append((what, name))
            self.changed.notify_all()

    def wait(self, met: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(met, PATIENCE_S), self.told


@dataclass
class Gated(StandIn):
    """Notes each generation; `early` and `late` happen at a job's first and last step.

    They are given a function that reports the step again, which raises where the job is to end.
    """

    server: Told
    early: dict[str, Hook] = field(default_factory=dict)
    late: dict[str, Hook] = field(default_factory=dict)
    most: int = 0
    """Generations at the same time."""
    held: dict[str, weakref.ref[Event]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._running: set[str] = set()
        self._lock = Lock()

    def admit(self, plan: Plan, /) -> None:
        self.server.note("admit", plan.prompt)

    def generate(self, plan: Plan, *rest: Any) -> Generated:
        *given, report, watch = rest
        name, tensors = plan.prompt, Event()
        self.held[name] = weakref.ref(tensors)

        def step(stage: str, done: int, steps: int) -> None:
            report(stage, done, steps)
            for hooks, where in ((self.early, ("text", 0)), (self.late, ("decode", 3))):
                if (stage, done) == where and (hook := hooks.get(name)):
                    hook(partial(report, stage, done, steps))

        with self.counted(name):
            self.server.note("generate", name)
            made = super().generate(plan, *given, step, watch)
        assert not tensors.is_set()
        return made

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        with self._lock:
            self._running.add(name)
            self.most = max(self.most, len(self._running))
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(name)


@dataclass
class Place:
    """A worker with two lanes, its server and its model."""

    server: Told
    model: Gated
    stop: Stop
    folder: Path
    settings: Settings

    def work(self, *jobs: Assignment, ends: int | None = None) -> None:
        """Do `jobs` until each has ended, or so many of them, or the worker by itself."""
        self.server.jobs.extend(jobs)
        with self.server.connect(self.stop.event) as api:
            bench = Bench(self.model, api, self.settings)
            end = Thread(target=self._end_after, args=(ends or len(jobs),), daemon=True)
            end.start()
            try:
                do_jobs(bench, self.folder, self.stop)
            finally:
                self.stop.end()
                self.server.note("over", "")
                end.join(PATIENCE_S)
        assert not list(self.folder.iterdir())

    def ends(self) -> set[tuple[str, str]]:
        return {call for call in self.server.told if call[0] in ENDS}

    def until(self, *call: str) -> Callable[..., None]:
        """Something that waits until this was told, such as ("at wait", "b")."""
        return lambda *_: self.server.wait(lambda: call in self.server.told)

    def _end_after(self, count: int) -> None:
        self.server.wait(lambda: self.stop.draining or len(self.ends()) == count)
        self.stop.drain()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "v.mp4"
    return make_video(path, count=10, size=(64, 64)).read_bytes()


@pytest.fixture
def place(clip: bytes, tmp_path: Path) -> Place:
    server = Told(uploads={"v": clip})
    folder = tmp_path / "jobs"
    folder.mkdir()
    settings = Settings(data_dir=tmp_path / "data", overlap=True)
    return Place(server, Gated(server), Stop(drain_s=1000), folder, settings)


def test_the_next_job_is_read_while_one_is_generated(place: Place) -> None:
    """And then waits, which is a stage of its own; the model has one job at a time."""
    place.model.late["a"] = place.until("at wait", "b")
    place.work(job("a"), job("b"), job("c"))

    assert place.ends() == {("succeed", name) for name in "abc"}
    assert place.model.most == 1
    admitted = [name for what, name in place.server.told if what == "admit"]
    assert "a" in admitted
    assert "b" not in admitted, "what is free beside another job says nothing"
    told = [call for call in place.server.told if call[0] == "generate"]
    assert told == [("generate", name) for name in "abc"]
    assert stages_of(place, "a")[:3] == ["fetch", "read", "text"]
    assert stages_of(place, "b")[:4] == ["fetch", "read", "wait", "text"]


def stages_of(place: Place, name: str) -> list[str]:
    """Those that the job's seconds are told of, in order."""
    (told,) = [
        told
        for told in (Succeed.model_validate(body) for body in place.server.sent("succeed"))
        if told.manifest.prompt == name
    ]
    return list(told.metrics)


def test_a_clip_is_stored_while_the_next_one_is_generated(place: Place) -> None:
    """The first one's file is taken only once the second generation has begun."""
    place.server.on["files", "a"] = place.until("generate", "b")
    place.work(job("a"), job("b"))
    assert place.ends() == {("succeed", "a"), ("succeed", "b")}


def test_no_job_is_claimed_before_the_last_part_of_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a worker which is free gets it."""
    seen: list[tuple[float, int]] = []

    class Watched(Report):
        def step(self, stage: str, done: int, steps: int) -> None:
            claims = [call for call in place.server.told if call[0] == "claim"]
            seen.append((self.progress.fraction if self.progress else 0, len(claims)))
            super().step(stage, done, steps)

    monkeypatch.setattr(loop, "Report", Watched)
    place.work(job("a"))

    before = [claims for fraction, claims in seen if fraction < LAST_PART]
    assert before
    assert set(before) == {1}


def test_without_overlap_there_is_one_job_at_a_time(place: Place) -> None:
    """Claimed after the end of the one before."""
    place.settings = place.settings.model_copy(update={"overlap": False})
    place.work(job("a"), job("b"))

    told = [call for call in place.server.told if call[0] in {"claim", "succeed"}]
    assert told[:4] == [("claim", ""), ("succeed", "a"), ("claim", ""), ("succeed", "b")]


@pytest.mark.parametrize(
    ("asked", "gpu", "two"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_jobs_overlap_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, asked: bool | None, gpu: bool, two: bool
) -> None:
    """Unless the operator says otherwise."""
    monkeypatch.setattr(loop, "is_on_gpu", lambda _: gpu)
    assert overlaps(Settings(overlap=asked)) is two


def test_a_worker_that_ends_hands_both_jobs_back(place: Place) -> None:
    """The one that waits does not get the model any more."""

    def end(again: Callable[[], None]) -> None:
        place.until("at wait", "b")()
        place.stop.end()
        again()

    place.model.late["a"] = end
    place.work(job("a"), job("b"))
    assert place.ends() == {("release", "a"), ("release", "b")}
    assert ("generate", "b") not in place.server.told


def test_a_draining_worker_finishes_both_jobs_and_claims_no_third(place: Place) -> None:
    """Given the time."""

    def drain(_: object) -> None:
        place.until("at wait", "b")()
        place.stop.drain()

    place.model.late["a"] = drain
    place.work(job("a"), job("b"), job("c"))
    assert place.ends() == {("succeed", "a"), ("succeed", "b")}
    assert [left.request_id for left in place.server.jobs] == ["c"]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [(200, {"cancelling": True}, {("stop", "b")}), (409, {}, set())],
)
def test_a_job_that_waits_can_be_cancelled_or_lost(
    place: Place, status: int, body: dict[str, bool], told: set[tuple[str, str]]
) -> None:
    """The other one still has the model then; a third takes the place."""

    def refuse() -> httpx2.Response | None:
        waits = ("at wait", "b") in place.server.told
        return httpx2.Response(status, json=body) if waits else None

    place.server.on["heartbeat", "b"] = refuse
    place.model.late["a"] = place.until("at wait", "c")
    place.work(job("a"), job("b"), job("c"), ends=2 + len(told))

    assert place.ends() == {("succeed", "a"), ("succeed", "c"), *told}
    assert ("generate", "b") not in place.server.told


def test_a_cancelled_generation_makes_room_for_the_next(place: Place) -> None:
    """What it held is gone before the next one has the model, while its end is still told."""
    held: list[object] = []

    def cancel() -> httpx2.Response | None:
        waits = ("at wait", "b") in place.server.told
        return httpx2.Response(200, json={"cancelling": True}) if waits else None

    place.server.on["heartbeat", "a"] = cancel
    place.server.on["stop", "a"] = place.until("generate", "b")
    place.model.late["a"] = again_and_again
    place.model.early["b"] = lambda _: held.append(place.model.held["a"]())
    place.work(job("a"), job("b"))

    assert place.ends() == {("stop", "a"), ("succeed", "b")}
    assert held == [None]


def test_a_lost_device_ends_the_worker_and_hands_the_other_job_back(place: Place) -> None:
    """Another process may have better luck with it; that is so before the failure is told."""

    def lose(_: object) -> None:
        place.until("at wait", "b")()
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    place.model.late["a"] = lose
    place.server.on["fail", "a"] = place.until("release", "b")
    with pytest.raises(DeviceLostError):
        place.work(job("a"), job("b"), job("c"))

    assert place.ends() == {("fail", "a"), ("release", "b")}
    assert ("generate", "b") not in place.server.told
    assert [left.request_id for left in place.server.jobs] == ["c"]


def test_a_lost_device_is_no_failure_of_the_other_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though both get the error: the first is told as a failure, the other is handed back."""
    lost = "CUDA error: an illegal memory access was encountered"

    def breaks(_: object, plan: Plan, *__: object) -> None:
        if plan.prompt == "b":
            raise RuntimeError(lost)

    def gets_it_too(_: object) -> None:
        place.until("failing", "b")()
        raise RuntimeError(lost)

    def failing() -> None:
        place.server.note("failing", "b")
        place.until("release", "a")()

    monkeypatch.setattr(run, "draw_control", breaks)
    place.model.late["a"] = gets_it_too
    place.server.on["fail", "b"] = failing
    with pytest.raises(DeviceLostError):
        place.work(job("a"), job("b"))
    assert place.ends() == {("release", "a"), ("fail", "b")}


def test_an_error_outside_of_any_job_ends_both_lanes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the error, and with the other lane's job handed back."""
    usual = loop.do_job

    def full(one: Assignment, *rest: Any, **more: Any) -> None:
        if one.request_id == "b":
            raise OSError(28, "No space left on device")
        usual(one, *rest, **more)

    monkeypatch.setattr(loop, "do_job", full)
    place.model.late["a"] = again_and_again
    with pytest.raises(OSError, match="No space"):
        place.work(job("a"), job("b"))
    assert place.ends() == {("release", "a")}


def test_each_line_of_the_log_names_its_own_job(place: Place) -> None:
    """Though two lanes write it."""
    place.model.late["a"] = place.until("at wait", "b")
    processors = [structlog.contextvars.merge_contextvars]
    with structlog.testing.capture_logs(processors=processors) as lines:
        place.work(job("a"), job("b"))

    ended = {line["request_id"] for line in lines if line["event"] == "job_succeeded"}
    assert ended == {"a", "b"}


def again_and_again(again: Callable[[], None]) -> None:
    """Until the job is to end."""
    while True:
        again()
        Event().wait(0.01)

"""What a job says about itself while it runs."""

from collections.abc import Iterator
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotoscope.errors import LeaseLostError
from rotoscope.schema.output import Adjustment
from rotoscope.worker.progress import Course, Report, StoppedError, seconds_left

COSTS = {"text": 10.0, "denoise": 60.0, "refine": 20.0, "decode": 10.0}


class Clock:
    """Time as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_report(stopping: Event | None = None) -> tuple[Report, Clock]:
    clock = Clock()
    return Report(stopping, clock), clock


def whole_job(report: Report) -> Iterator[str]:
    """The calls of one job in order, a name after each."""
    for stage in ("fetch", "read"):
        report.begin(stage)
        yield stage
    report.follow(COSTS, ())
    for stage in COSTS:
        for done in range(5):
            report.step(stage, done, 4)
            yield f"{stage} {done}"
    for stage in ("encode", "store"):
        report.begin(stage)
        yield stage


def test_the_stages_of_a_job_surround_those_of_the_model() -> None:
    """The plan's stages stand between fetching and storing, and the shares make a whole."""
    course = Course.around(COSTS)

    assert course.stages == [
        "fetch",
        "read",
        "text",
        "denoise",
        "refine",
        "decode",
        "encode",
        "store",
    ]
    assert sum(course.shares.values()) == pytest.approx(1)


def test_progress_rises_over_both_passes() -> None:
    """From the first stage to the last the fraction never falls, and it ends near 1."""
    report, _ = make_report()
    fractions = []
    for _ in whole_job(report):
        assert report.progress
        fractions.append(report.progress.fraction)

    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == pytest.approx(0.99)


def test_a_stage_counts_by_its_cost() -> None:
    """Halfway through a stage of 60 percent of the model's work."""
    report, _ = make_report()
    report.follow(COSTS, ())
    report.step("denoise", 20, 40)

    assert report.progress
    assert report.progress.fraction == pytest.approx(0.03 + 0.94 * (0.1 + 0.3), abs=1e-3)
    assert (report.progress.step, report.progress.steps) == (20, 40)


@given(st.lists(st.tuples(st.sampled_from([*COSTS, "unplanned"]), st.integers(0, 9))))
def test_no_order_of_steps_makes_progress_fall(steps: list[tuple[str, int]]) -> None:
    """Even stages that the plan did not name leave the fraction where it was or above."""
    report, _ = make_report()
    report.follow(COSTS, ())
    last = 0.0
    for stage, done in steps:
        report.step(stage, done, 9)
        assert report.progress
        assert last <= report.progress.fraction <= 1
        last = report.progress.fraction


def test_the_time_left_follows_from_the_models_speed() -> None:
    """A slow download does not make the model look slow."""
    report, clock = make_report()
    report.begin("fetch")
    clock.now = 500.0
    report.begin("read")
    report.follow({"denoise": 1.0}, ())
    report.step("denoise", 0, 4)
    assert report.progress
    assert report.progress.eta_s is None

    clock.now = 510.0
    report.step("denoise", 1, 4)

    # A quarter of 0.94 took 10 s; three quarters of it and 0.03 are left.
    assert report.progress.eta_s == pytest.approx(
        10 * (0.75 * 0.94 + 0.03) / (0.25 * 0.94), abs=0.1
    )


def test_no_speed_gives_no_time() -> None:
    """Neither without work done nor without time spent."""
    assert seconds_left(10, 0, 1) is None
    assert seconds_left(0, 0.5, 0.5) is None
    assert seconds_left(10, 0.5, 0.25) == 5


@pytest.mark.parametrize(
    ("read_s", "step_s", "behind"),
    [
        (1.0, 1.0, "refine 1"),  # twice the two seconds that it took to be read
        (0.1, 1.0, "decode 4"),  # less than a step: the end of the model is soon enough
        (99.0, 15.0, "decode 3"),  # never more than 15 seconds
        (99.0, 1.0, "denoise 2"),  # never in the first half
    ],
)
def test_a_job_gives_way_when_the_next_can_be_read_in_the_rest(
    read_s: float, step_s: float, behind: str
) -> None:
    """By its own speed; at the latest when it has done with the model."""
    calls: list[str] = []
    clock, told = Clock(), ["nothing"]
    report = Report(None, clock, give_way=lambda: calls.append(told[-1]))
    for name in whole_job(report):
        told.append(name)
        clock.now += read_s if name in {"fetch", "read"} else step_s

    assert calls[0] == behind


def test_waiting_for_the_model_is_a_stage_that_says_nothing_of_its_speed() -> None:
    """It stands behind what came before it, and moves no bar."""
    report, clock = make_report()
    report.begin("fetch")
    report.begin("read")
    report.follow({"preprocess": 10.0, **COSTS}, ())
    report.step("preprocess", 4, 4)
    assert report.progress
    before = report.progress.fraction
    report.wait()
    assert (report.progress.stage, report.progress.fraction) == ("wait", before)
    assert report.progress.stages[1:5] == ["read", "preprocess", "wait", "text"]

    clock.now += 500.0
    report.step("text", 0, 4)
    clock.now += 10.0
    report.step("text", 4, 4)
    assert report.seconds()["wait"] == 500
    assert report.progress.eta_s
    assert report.progress.eta_s < 200


def test_each_stage_is_timed() -> None:
    """Seconds add up per stage, over all visits, to the total."""
    report, clock = make_report()
    for _ in whole_job(report):
        clock.now += 1.0

    seconds = report.seconds()
    assert seconds["fetch"] == seconds["encode"] == 1
    assert seconds["denoise"] == 5
    assert seconds["total"] == sum(value for name, value in seconds.items() if name != "total")


def test_a_lost_lease_ends_the_run_at_its_next_step() -> None:
    """What the heartbeat learnt comes out of step and begin."""
    report, _ = make_report()
    report.abort(LeaseLostError("gone"))

    with pytest.raises(LeaseLostError):
        report.step("denoise", 1, 4)
    with pytest.raises(LeaseLostError):
        report.begin("read")


def test_a_worker_that_ends_still_saves_a_finished_clip() -> None:
    """Told to end, the model stops at its next step, but encoding and storing go on."""
    stopping = Event()
    report, _ = make_report(stopping)
    report.follow(COSTS, ())
    stopping.set()

    with pytest.raises(StoppedError):
        report.step("denoise", 1, 4)
    report.begin("encode")
    report.begin("store")
    assert report.progress
    assert report.progress.stage == "store"


def test_warnings_add_up_and_are_announced() -> None:
    """The plan's and the model's own come together, each a change to be sent."""
    report, _ = make_report()
    snapped = Adjustment(field="num_frames", asked=120, used=121, why="8k+1")
    skipped = Adjustment(field="loras.0", asked=10, used=8, why="two layers are not here")
    report.follow(COSTS, (snapped,))
    report.changed.clear()
    report.warn((skipped,))

    assert report.warnings == (snapped, skipped)
    assert report.changed.is_set()

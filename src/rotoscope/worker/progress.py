"""How far one job is, what it has taken, and whether it should go on.

The report knows the stages of a job and the clock. It knows neither HTTP nor the model: the run
tells it what happens, the heartbeat thread reads `progress` and `warnings` from it, and it stops
the run when the lease is lost or the worker is told to end.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from threading import Event
from typing import Self

import numpy as np
import numpy.typing as npt

from rotoscope.errors import RotoscopeError
from rotoscope.schema.output import Adjustment, Progress

# Shares of a job outside the model. They are small at every checkpoint's size, and a bar that
# moves at all while a video is fetched says more than an exact one.
OPENING = {"fetch": 0.01, "read": 0.02}
CLOSING = {"encode": 0.02, "store": 0.01}
WAIT = "wait"
"""The stage of a job that is ready for the model while another one has it."""
BEFORE_THE_MODEL = (*OPENING, "preprocess")
LAST_PART, AHEAD, MOST_AHEAD_S = 0.5, 2.0, 15.0
"""A job has nearly done with the model when it is in this part of its course, and by its speed has
no more left than so many times what came before the model; or no more than so many seconds."""
Picture = npt.NDArray[np.uint8]
"""Height x width x RGB."""

UNPLANNED = {"generate": 1.0}
"""Stands for the model's own stages until the plan names them."""


class StoppedError(RotoscopeError):
    """The worker was told to end: the job goes back to the queue."""


class CancelAskedError(RotoscopeError):
    """The job's owner cancelled it while it ran: it ends here."""


@dataclass(frozen=True, slots=True)
class Course:
    """The stages of one job in order, each with its share of the whole; the shares add up to 1."""

    shares: Mapping[str, float]

    @classmethod
    def around(cls, costs: Mapping[str, float]) -> Self:
        """The model's stages, by their estimated costs, between the opening and closing ones."""
        rest = 1 - sum(OPENING.values()) - sum(CLOSING.values())
        whole = sum(costs.values()) or 1
        model = {stage: rest * cost / whole for stage, cost in costs.items()}
        return cls({**OPENING, **model, **CLOSING})

    @property
    def stages(self) -> list[str]:
        return list(self.shares)

    def with_wait(self, after: str | None) -> Self:
        """With a wait, which is no work, behind the stage `after`."""
        shares: dict[str, float] = {}
        for stage, share in self.shares.items():
            shares[stage] = share
            if stage == after:
                shares[WAIT] = 0.0
        return replace(self, shares=shares)

    def fraction(self, stage: str, step: int, steps: int) -> float:
        """Share of the job that is done when `step` of `steps` of this stage are."""
        before = sum(self.shares[name] for name in takewhile(lambda s: s != stage, self.shares))
        return min(1.0, before + self.shares[stage] * step / max(steps, 1))


def seconds_left(elapsed_s: float, done: float, left: float) -> float | None:
    """What the rest takes at the speed so far; None before there is a speed."""
    return elapsed_s * left / done if done > 0 and elapsed_s > 0 else None


class Report:
    """What a run says about itself. One thread writes, others may read at any time."""

    def __init__(
        self,
        stopping: Event | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        """`give_way` is called, maybe often, once the job has nearly done with the model."""
        self.changed = Event()
        self.preview: str | None = None
        """The key of the last picture that was stored; the heartbeat sets it."""
        self._progress: Progress | None = None
        self._picture: Picture | None = None
        self.warnings: tuple[Adjustment, ...] = ()
        self._stopping = stopping or Event()
        self._clock = clock
        self._give_way = give_way
        self._abort: RotoscopeError | None = None
        self._course = Course.around(UNPLANNED)
        self._seconds: dict[str, float] = {}
        self._stage: str | None = None
        self._stage_since = self._started = clock()
        self._model_since: float | None = None
        self._model_from = sum(OPENING.values())

    @property
    def progress(self) -> Progress | None:
        """How far the job is, with its last picture."""
        progress, preview = self._progress, self.preview
        return (
            progress.model_copy(update={"preview": preview}) if progress and preview else progress
        )

    def begin(self, stage: str) -> None:
        """A stage outside the model starts.

        Raises:
            LeaseLostError: The job is no longer this worker's.
            CancelAskedError: Its owner cancelled it.
            StoppedError: The worker was told to end, and there is no finished clip to save.
        """
        self.check(finished=stage in CLOSING)
        self._tell(stage, 0, 1)
        if stage in CLOSING:
            self._give_way()

    def wait(self) -> None:
        """The job has to wait for the model; its speed is measured from the next step on."""
        self._course = self._course.with_wait(self._stage)
        self._tell(WAIT, 0, 1)
        self._model_since, self._model_from = None, self._fraction(WAIT, 0, 1)

    def follow(self, costs: Mapping[str, float], warnings: tuple[Adjustment, ...]) -> None:
        """The plan is made: from here on the model's stages and the adjustments are known."""
        self._course = Course.around(costs)
        self.warn(warnings)

    def warn(self, warnings: tuple[Adjustment, ...]) -> None:
        for warning in warnings:
            # Another attempt may have told it already.
            if warning not in self.warnings:
                self.warnings = (*self.warnings, warning)
        self.changed.set()

    def step(self, stage: str, done: int, steps: int) -> None:
        """The model finished a step; raises as `begin` does, which ends the generation."""
        self.check()
        if self._model_since is None:
            self._model_since = self._clock()
        self._tell(stage, done, steps)

    def show(self, picture: Picture) -> None:
        """How the clip looks so far; the next beat takes it along."""
        self._picture = picture
        self.changed.set()

    def take_picture(self) -> Picture | None:
        """The picture that came since the last one was taken."""
        picture, self._picture = self._picture, None
        return picture

    def abort(self, error: RotoscopeError) -> None:
        """Make the run raise `error` at its next step."""
        self._abort = error

    def seconds(self) -> dict[str, float]:
        """Seconds in each stage so far, and in all."""
        self._clock_stage(self._stage)
        return {**self._seconds, "total": self._clock() - self._started}

    def check(self, *, finished: bool = False) -> None:
        """Raises as `begin` does; `finished` says that there is a clip to save."""
        if self._abort:
            raise self._abort
        if self._stopping.is_set() and not finished:
            raise StoppedError("The worker was told to end.")

    def _tell(self, stage: str, step: int, steps: int) -> None:
        self._clock_stage(stage)
        fraction = self._fraction(stage, step, steps)
        eta_s = self._eta(fraction)
        self._progress = Progress(
            stage=stage,
            stages=self._course.stages,
            step=step,
            steps=steps,
            fraction=round(fraction, 4),
            eta_s=eta_s,
        )
        self.changed.set()
        if fraction >= LAST_PART and eta_s is not None and eta_s <= self._ahead_s():
            self._give_way()

    def _ahead_s(self) -> float:
        """How long before its end the next job, if it is like this one, has to be claimed."""
        before_s = sum(self._seconds.get(stage, 0.0) for stage in BEFORE_THE_MODEL)
        return min(MOST_AHEAD_S, AHEAD * before_s)

    def _clock_stage(self, stage: str | None) -> None:
        now = self._clock()
        if self._stage is not None:
            self._seconds[self._stage] = (
                self._seconds.get(self._stage, 0.0) + now - self._stage_since
            )
        self._stage, self._stage_since = stage, now

    def _fraction(self, stage: str, step: int, steps: int) -> float:
        """Never falls, also when the model names a stage that its plan did not."""
        before = self._progress.fraction if self._progress else 0.0
        known = stage in self._course.shares
        return max(before, self._course.fraction(stage, step, steps)) if known else before

    def _eta(self, fraction: float) -> float | None:
        """From the model's speed alone: how fast a video came says nothing about the model."""
        if self._model_since is None:
            return None
        elapsed_s = self._clock() - self._model_since
        left = seconds_left(elapsed_s, fraction - self._model_from, 1 - fraction)
        return None if left is None else round(left, 1)

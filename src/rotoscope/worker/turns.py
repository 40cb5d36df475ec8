"""Whose turn it is among the jobs of one worker: to have the model, and to be claimed.

A worker with two lanes has two jobs at most. One has the model; the other is fetched and read, or
encoded and stored, which needs none. The next job is claimed late, when the one at hand has nearly
done with the model: claimed early, it would wait here while another worker may be free.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from traceback import clear_frames
from typing import Self

from rotoscope.worker.failure import leaves_device_unusable
from rotoscope.worker.progress import Report, StoppedError

CHECK_S = 0.2
"""A job that waits for the model looks this often whether it was cancelled or handed back."""


class Claiming:
    """The right to claim a job, which one lane has at a time; within its context, until `over`."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._mine = False

    def __enter__(self) -> Self:
        self._lock.acquire()
        self._mine = True
        return self

    def __exit__(self, *_: object) -> None:
        self.over()

    def over(self) -> None:
        """Give it on; from the second time on, nothing happens."""
        if self._mine:
            self._mine = False
            self._lock.release()


class Turns:
    """What the lanes of one worker share."""

    def __init__(self) -> None:
        self._lost_by: BaseException | None = None
        self._claiming = Lock()
        self._model = Lock()

    def claiming(self) -> Claiming:
        return Claiming(self._claiming)

    @property
    def device_lost(self) -> bool:
        """Whether an error left the device unusable, for every job to come."""
        return self._lost_by is not None

    def loses_device(self, error: BaseException) -> bool:
        """Whether it is `error` that lost the device; what another job gets from then on is not."""
        if self._lost_by is None and leaves_device_unusable(error):
            self._lost_by = error
        return self._lost_by is error

    def unless_busy(self, act: Callable[[], object]) -> None:
        """Call `act` if no job has the model; meanwhile none gets it."""
        if self._model.acquire(blocking=False):
            try:
                act()
            finally:
                self._model.release()

    @contextmanager
    def model(self, report: Report) -> Iterator[None]:
        """Within this context the model is this job's alone; before, the job may have to wait.

        Raises:
            StoppedError: The worker was told to end, or the device is lost: the job is to be
                handed back.
            CancelAskedError: The job's owner cancelled it.
            LeaseLostError: It is no longer this worker's.
        """
        self._await_model(report)
        try:
            self._check(report)
            yield
        except BaseException as error:
            self.loses_device(error)
            _let_go(error)
            raise
        finally:
            # What is left hangs in cycles, and the next job needs the memory at once.
            gc.collect()
            self._model.release()

    def _await_model(self, report: Report) -> None:
        if self._model.acquire(blocking=False):
            return
        report.wait()
        while not self._model.acquire(timeout=CHECK_S):
            report.check()

    def _check(self, report: Report) -> None:
        report.check()
        if self.device_lost:
            raise StoppedError("The device was lost by another job.")


def _let_go(error: BaseException) -> None:
    """Drop what the frames of a failed generation hold; the error still names its lines."""
    link: BaseException | None = error
    while link is not None:
        clear_frames(link.__traceback__)
        link = link.__context__

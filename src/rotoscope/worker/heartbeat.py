"""A thread that keeps a job's lease while its own thread computes, and passes progress on."""

from io import BytesIO
from threading import Event, Thread
from typing import Self

from PIL import Image

from rotoscope import telemetry
from rotoscope.errors import LeaseLostError, OperatorError
from rotoscope.schema.worker import Assignment
from rotoscope.worker.api import RefusedError, ServerAwayError, WorkerApi
from rotoscope.worker.progress import CancelAskedError, Picture, Report

log = telemetry.logger()

LEAST_PAUSE_S = 0.5
JPEG_QUALITY = 75


class Heartbeat:
    """Beats every `heartbeat_s` and soon after each change, at most twice a second."""

    def __init__(self, job: Assignment, api: WorkerApi, report: Report) -> None:
        self._job = job
        self._api = api
        self._report = report
        self._over = Event()
        self._thread = Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._report.changed.set()
        self._thread.join()

    def _beat(self) -> None:
        while True:
            self._report.changed.wait(self._job.heartbeat_s)
            self._report.changed.clear()
            if self._over.is_set() or not self._send():
                return
            self._over.wait(min(LEAST_PAUSE_S, self._job.heartbeat_s))

    def _send(self) -> bool:
        """Whether there is a lease to keep; a server that is away may come back in time."""
        try:
            self._send_picture()
            cancelling = self._api.heartbeat(self._job, self._report)
        except (ServerAwayError, RefusedError) as error:
            log.warning("heartbeat_missed", request_id=self._job.request_id, reason=str(error))
        except (LeaseLostError, OperatorError) as error:
            self._report.abort(error)
            return False
        else:
            if cancelling:
                # The lease is kept until the run has stopped and said so.
                self._report.abort(CancelAskedError("The request was cancelled."))
        return True

    def _send_picture(self) -> None:
        if (picture := self._report.take_picture()) is not None:
            self._report.preview = self._api.store_preview(self._job, jpeg(picture))


def jpeg(picture: Picture) -> bytes:
    """Small, since it is looked at for a second."""
    with BytesIO() as file:
        Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
        return file.getvalue()

"""The thread that keeps a lease."""

from io import BytesIO
from threading import Event

import httpx2
import numpy as np
import pytest
from PIL import Image

from rotoscope.errors import LeaseLostError, OperatorError
from rotoscope.schema.worker import Assignment
from rotoscope.worker.heartbeat import Heartbeat
from rotoscope.worker.progress import CancelAskedError, Report
from tests.worker.stand_ins import Server, make_job


def await_calls(server: Server, verb: str, count: int) -> None:
    while len(server.sent(verb)) < count:
        server.called.clear()
        assert server.called.wait(10)


def step_on(report: Report) -> None:
    """What a model does, without end."""
    while True:
        report.step("denoise", 1, 2)
        Event().wait(0.001)


def slow_job() -> Assignment:
    """One whose next regular heartbeat is beyond any test."""
    return make_job().model_copy(update={"heartbeat_s": 1000.0})


def test_it_beats_by_itself(server: Server) -> None:
    """Also while the main thread is silent."""
    with server.connect() as api, Heartbeat(make_job(), api, Report()):
        await_calls(server, "heartbeat", 3)
    assert server.sent("heartbeat")[0] == {
        "token": "lease",
        "progress": None,
        "warnings": [],
        "presence": {"worker_id": "w1", "pool": "default", "facts": {}},
    }


def test_a_change_is_sent_at_once(server: Server) -> None:
    """Long before the next regular beat."""
    report = Report()
    with server.connect() as api, Heartbeat(slow_job(), api, report):
        report.begin("fetch")
        await_calls(server, "heartbeat", 1)
    progress = server.sent("heartbeat")[0]["progress"]
    assert isinstance(progress, dict)
    assert progress["stage"] == "fetch"


@pytest.mark.parametrize(("status", "error"), [(409, LeaseLostError), (401, OperatorError)])
def test_a_refused_beat_ends_the_run(server: Server, status: int, error: type[Exception]) -> None:
    """The run raises at its next step; nothing more is sent."""
    report = Report()
    server.will_answer("heartbeat", httpx2.Response(status))
    with server.connect() as api, Heartbeat(make_job(), api, report):
        await_calls(server, "heartbeat", 1)
        with pytest.raises(error):
            step_on(report)
    assert len(server.sent("heartbeat")) == 1


def test_a_cancelled_job_keeps_its_lease_until_it_has_stopped(server: Server) -> None:
    """The run raises at its next step, in any stage; until it has ended, the beats go on."""
    report = Report()
    server.will_answer("heartbeat", httpx2.Response(200, json={"cancelling": True}))
    with server.connect() as api, Heartbeat(make_job(), api, report):
        await_calls(server, "heartbeat", 3)
        with pytest.raises(CancelAskedError):
            report.step("denoise", 1, 2)
        with pytest.raises(CancelAskedError):
            report.begin("encode")


def test_a_server_that_is_away_is_only_a_missed_beat(server: Server) -> None:
    """The run goes on, and so do the beats."""
    report = Report()
    server.will_answer("heartbeat", httpx2.ConnectError("refused"), httpx2.Response(502))
    with server.connect() as api, Heartbeat(make_job(), api, report):
        await_calls(server, "heartbeat", 3)
        report.step("denoise", 1, 2)


def test_it_ends_with_the_job(server: Server) -> None:
    """Leaving does not wait for the next regular beat."""
    with server.connect() as api, Heartbeat(slow_job(), api, Report()):
        pass
    assert server.sent("heartbeat") == []


def test_a_picture_goes_ahead_of_the_beat_that_names_it(server: Server) -> None:
    """As a file of the job's; the beats after it name it too."""
    report = Report()
    with server.connect() as api, Heartbeat(slow_job(), api, report):
        report.show(np.zeros((36, 64, 3), np.uint8))
        report.step("denoise", 5, 40)
        await_calls(server, "heartbeat", 1)
        report.step("denoise", 6, 40)
        await_calls(server, "heartbeat", 2)
    assert [verb for verb, _ in server.calls][:2] == ["files", "heartbeat"]
    (key,) = server.files
    assert Image.open(BytesIO(server.files[key])).size == (64, 36)
    told = [beat["progress"] for beat in server.sent("heartbeat")]
    assert [one["preview"] for one in told if isinstance(one, dict)] == [key, key]


def test_a_picture_that_cannot_be_stored_is_left_out(server: Server) -> None:
    """The run goes on, and so do the beats."""
    report = Report()
    server.will_answer("files", httpx2.ConnectError("away"))
    with server.connect() as api, Heartbeat(make_job(), api, report):
        report.show(np.zeros((36, 64, 3), np.uint8))
        report.step("denoise", 5, 40)
        await_calls(server, "heartbeat", 1)
        report.step("denoise", 6, 40)
    assert not server.files
    assert report.progress is not None
    assert report.progress.preview is None

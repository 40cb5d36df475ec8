"""Log lines: one JSON object each, from our own code and from libraries alike."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, warnings
from structlog.contextvars import bound_contextvars
from rotoscope import telemetry

telemetry.configure({format!r})
with bound_contextvars(request_id="job-1"):
    telemetry.logger().info("job_claimed", worker="gpu-0")
    logging.getLogger("somelib").warning("disk is %s", "slow")
    logging.getLogger("somelib").info("not of interest")
    try:
        1 / 0
    except ZeroDivisionError:
        telemetry.logger().exception("job_failed")
        logging.getLogger("somelib").exception("broke")
"""


def lines(log_format: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(format=log_format)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not done.stdout
    return done.stderr.splitlines()


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_every_line_is_an_object_that_names_the_request(log_format: str) -> None:
    """Not on a terminal, auto is json."""
    claimed, library, failed, broke = [json.loads(line) for line in lines(log_format)]

    assert claimed["event"] == "job_claimed"
    assert claimed["worker"] == "gpu-0"
    assert claimed["level"] == "info"
    assert library == {
        "event": "disk is slow",
        "logger": "somelib",
        "level": "warning",
        "request_id": "job-1",
        "timestamp": library["timestamp"],
    }
    assert {line["request_id"] for line in (claimed, library, failed, broke)} == {"job-1"}
    for line in (failed, broke):
        assert "ZeroDivisionError" in line["exception"]
        assert line["level"] == "error"


def test_for_people_lines_are_text() -> None:
    assert any("job_claimed" in line and not line.startswith("{") for line in lines("console"))

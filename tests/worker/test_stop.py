"""How a worker process is told to end; each test runs a real process."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

WORKER = """
import sys
from rotoscope.worker.stop import Stop
stop = Stop(1000.0 if "slow" in sys.argv else 0.0)
stop.listen(tied="tied" in sys.argv)
if "ready" in sys.argv:
    stop.ready()
print("up", flush=True)
if "slow" in sys.argv:
    while not stop.draining:
        stop.wait(0.01)
    print("draining", flush=True)
stop.event.wait()
print("finishing", flush=True)
if "stuck" in sys.argv:
    while True:
        signal.pause()
sys.exit(0)
""".replace("import sys\n", "import signal, sys\n", 1)


@contextmanager
def worker(*words: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_worker_finish_up(number: signal.Signals) -> None:
    """It goes on to its own end, with status 0."""
    with worker("ready") as process:
        process.send_signal(number)
        assert process.communicate()[0] == "finishing\n"
        assert process.returncode == 0


def test_sigterm_gives_the_running_job_time() -> None:
    """No more jobs at once; the one at hand is not handed back before the time is over."""
    with worker("ready", "slow") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout
        assert process.stdout.readline() == "draining\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)


def test_sigint_gives_it_none() -> None:
    """Somebody sits there and waits for the end."""
    with worker("ready", "slow") as process:
        process.send_signal(signal.SIGINT)
        assert process.communicate()[0] == "draining\nfinishing\n"
        assert process.returncode == 0


def test_a_second_signal_ends_it_at_once() -> None:
    """Also where finishing up hangs."""
    with worker("ready", "stuck") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline() == "finishing\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


def test_a_tied_worker_ends_with_its_standard_input() -> None:
    """Which its parent holds open as long as it lives and wants it to work."""
    with worker("ready", "tied") as process:
        assert process.communicate()[0] == "finishing\n"
        assert process.returncode == 0


def test_a_worker_that_only_starts_ends_at_once() -> None:
    """Before it is ready there is nothing to hand back."""
    with worker() as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[0] == ""
        assert process.returncode == 0

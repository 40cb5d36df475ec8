"""`rotoscope queue`, against a real server."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from tests.web.test_server import started

Rotoscope = Callable[..., Result]


@pytest.fixture
def rotoscope(tmp_path: Path) -> Rotoscope:
    def run(*arguments: str, key: str = "gpu") -> Result:
        environment = {
            "ROTOSCOPE_WORKER_KEY": key,
            "ROTOSCOPE_CONFIG": str(tmp_path / "none.toml"),
            "COLUMNS": "200",
        }
        return CliRunner().invoke(app, ["queue", *arguments], env=environment)

    return run


def test_a_queue_is_shown_paused_and_resumed(tmp_path: Path, rotoscope: Rotoscope) -> None:
    """By pool, with what waits there; a key that is none is told."""
    with started(tmp_path / "data") as server:
        here = ("--server", server.url)
        assert "No pool" in rotoscope("show", *here).output
        server.submit()
        paused = rotoscope("pause", *here)
        assert paused.exit_code == 0
        row = paused.output.splitlines()[-1].split()
        assert row[:4] == ["default", "paused", "1", "0"]
        assert rotoscope("resume", "default", *here).output.splitlines()[-1].split()[1] == "open"
        assert rotoscope("show", *here).output.splitlines()[-1].split()[2] == "1"

        refused = rotoscope("pause", *here, key="another")
        assert refused.exit_code == 1
        assert "unknown, expired or revoked" in refused.output


def test_a_queue_needs_a_key_and_a_server(rotoscope: Rotoscope) -> None:
    """What is missing is said."""
    away = rotoscope("show", "--server", "http://127.0.0.1:1")
    assert (away.exit_code, "does not answer" in away.output) == (1, True)
    wrong = rotoscope("show", "--server", "no url")
    assert (wrong.exit_code, "does not answer" in wrong.output) == (1, True)

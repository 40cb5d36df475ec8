"""docs/clients.md does what it says: its blocks are run as they stand, on another host."""

import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from tests.clients.host import Host, Worker, run_script, working

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"


def block(heading: str, host: Host) -> str:
    """The code block below this heading, for this host and its key."""
    pattern = rf"^## {re.escape(heading)}\n.*?^```\w+\n(.*?)^```"
    found = re.search(pattern, PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1].replace("rotoscope.example.org", host.tls.host).replace("<token>", host.key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(SAMPLE.read_bytes())
    return tmp_path


@pytest.fixture
def worker(host: Host) -> Iterator[Worker]:
    with working(host) as worker:
        yield worker


def test_curl(host: Host, worker: Worker, folder: Path) -> None:
    command = ("bash", "-euo", "pipefail", "-c", block("curl", host))
    printed = run_script(*command, env=host.environment(), cwd=folder)

    assert '"status":"succeeded"' in printed
    assert f'"video":"{host.https}/files/' in printed
    assert worker.inputs[0]["video_url"].startswith("rotoscope://uploads/")


@pytest.mark.parametrize("heading", ["Python", "Python, to await"])
def test_python(heading: str, host: Host, worker: Worker, folder: Path) -> None:
    script = block(heading, host)
    printed = run_script(sys.executable, "-c", script, env=host.environment(), cwd=folder)

    assert printed.splitlines()[-1] == "completed"
    assert (folder / "drawing.mp4").read_bytes() == b"0123456789"
    assert worker.inputs[0]["prompt"] == "a pencil drawing"


def test_fal_client(host: Host, worker: Worker, folder: Path) -> None:
    script = block("fal-client", host)
    printed = run_script(sys.executable, "-c", script, env=host.environment(), cwd=folder)

    assert printed.splitlines()[-1].startswith(f"{host.https}/files/")
    assert worker.inputs[0]["video_url"].startswith("data:video/mp4;base64,")


def test_fal_ai_client(host: Host, worker: Worker, fal_js: Path) -> None:
    script = block("@fal-ai/client", host)
    printed = run_script("node", "-e", script, env=host.environment(), cwd=fal_js)

    assert printed.splitlines()[-1].startswith(f"{host.https}/files/")
    assert "COMPLETED" in printed

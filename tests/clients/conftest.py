"""One server for all clients: each test has requests of its own."""

import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.host import Host, hosted

FAL_JS = "@fal-ai/client@1.10.1"


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture(scope="session")
def fal_js(request: pytest.FixtureRequest) -> Path:
    """A folder where node finds @fal-ai/client, installed once for all runs."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    assert request.config.cache
    folder = Path(request.config.cache.mkdir("fal-ai-client"))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules" / "@fal-ai" / "client" / "package.json").is_file():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", FAL_JS]
    (folder / "package.json").write_text('{"private": true}')
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{FAL_JS} could not be installed: {done.stderr[-200:]}")

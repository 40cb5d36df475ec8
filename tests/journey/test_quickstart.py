"""docs/quickstart.md gives a video to whoever follows it: its commands are run as they stand."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rotoscope.media.clip import Size
from rotoscope.media.decode import probe

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "quickstart.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:8000"


@pytest.mark.timeout(600)
def test_the_quickstart_gives_videos(tmp_path: Path, clip: Path) -> None:
    """In one shell, in a fresh copy of what the commands need.

    Two things are not a new user's: the environment is the one that the tests run in, so that
    `make` finds nothing to install, and the server has a free port. `make demo` gets a clip of a
    second and the fewest steps, by the variables that the page names.
    """
    home = a_checkout(tmp_path / "rotoscope")
    port = free_port()
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) > 3
    script = "\n".join(blocks).replace(ADDRESS, f"127.0.0.1:{port}")

    status, printed = in_one_shell(script, home, surroundings(tmp_path, clip, port))

    assert status == 0, printed
    assert probe(home / "demo-output" / "restyled.mp4").duration_s > 0
    assert (home / "demo-output" / "before-and-after.png").read_bytes().startswith(b"\x89PNG")
    assert probe(home / "result.mp4").size == Size(256, 128)


def a_checkout(folder: Path) -> Path:
    """The repository's Makefile, project file and sources, with an environment that is made."""
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "src").symlink_to(ROOT / "src")
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for stamp in ("pip", "worker"):
        (folder / ".venv" / stamp).touch()
    return folder


def surroundings(folder: Path, clip: Path, port: int) -> dict[str, str]:
    """A home, a data folder and a port of the test's own, and one thread for the small model."""
    return {
        **{name: value for name, value in os.environ.items() if "ROTOSCOPE" not in name},
        "ROTOSCOPE_DATA_DIR": str(folder / "data"),
        "ROTOSCOPE_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "SAMPLE": str(clip),
        "STEPS": "8",
    }


def in_one_shell(script: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Bash that ends at the first command that fails, and what it started with it.

    Its exit status, and what was printed.
    """
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as shell,
    ):
        try:
            status = shell.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
    return status, (folder / "log").read_text()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

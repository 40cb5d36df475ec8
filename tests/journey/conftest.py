"""Fixtures of the journeys."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import numpy as np
import psutil
import pytest

from rotoscope.media.clip import Clip
from rotoscope.media.encode import encode
from tests.https_site import HttpsSite, https_site
from tests.journey.site import Site, opened

ROTOSCOPE = (sys.executable, "-m", "rotoscope")
SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of moving colour."""
    ramp = np.add.outer(np.arange(12) * 8, np.add.outer(np.arange(48), np.arange(64)))
    frames = np.stack([ramp, ramp // 2, 255 - ramp], axis=-1).astype(np.uint8)
    folder = tmp_path_factory.mktemp("clip")
    return encode(Clip(frames, Fraction(12)), quality="low", into=folder).path


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all journeys, since the small checkpoint is made in it."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def loras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the operator lists for LoRAs."""
    return tmp_path_factory.mktemp("loras")


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsSite]:
    """Where clips are fetched from, over https."""
    with https_site(tmp_path_factory.mktemp("web")) as site:
        yield site


@pytest.fixture(scope="session")
def environment(
    data_dir: Path,
    loras: Path,
    web: HttpsSite,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The operator's settings; temporary files go to a folder that each test can look into."""
    own = {
        "ROTOSCOPE_DATA_DIR": str(data_dir),
        "ROTOSCOPE_FETCH_PRIVATE_HOSTS": "127.0.0.1",
        "ROTOSCOPE_FETCH_CA_FILE": str(web.ca_file),
        "ROTOSCOPE_LORA_FOLDERS": str(loras),
        "ROTOSCOPE_LEASE_S": "5",
        "ROTOSCOPE_HEARTBEAT_S": "0.5",
        "TMPDIR": str(tmp_path_factory.mktemp("tmp")),
        "COLUMNS": "120",
        # The model is so small that threads cost more than they give.
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **own}


@contextmanager
def running(environment: dict[str, str]) -> Iterator[tuple[psutil.Process, str]]:
    """`rotoscope up` on a free port, and its address; at the end, Ctrl-C ends all of it."""
    with subprocess.Popen(
        [*ROTOSCOPE, "up", "--port", "0", "--anonymous"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        greeting = process.stdout.readline()
        try:
            yield psutil.Process(process.pid), greeting.split()[3]
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            process.wait(60)
            assert psutil.wait_procs(children, timeout=10)[1] == []
    assert process.returncode == 0
    assert list(Path(environment["TMPDIR"]).iterdir()) == []


@pytest.fixture(scope="session")
def up(environment: dict[str, str]) -> Iterator[tuple[psutil.Process, str]]:
    with running(environment) as process_and_url:
        yield process_and_url

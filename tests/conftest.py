"""What all tests share: how they are spread over processes, and the small checkpoint."""

import fcntl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import postgres_server, postgres_url

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

__all__ = ["postgres_server", "postgres_url"]

TOGETHER = ("tests/effects/", "tests/journey/")
"""Folders whose tests share a server of their own: each goes to one process."""

# How fast this machine is, and what else it does, fails no test.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "LoadScopeScheduling":
    """Hand out whole files and folders, so that what their tests share is made once."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    return ByFile(config, log)


@pytest.fixture(scope="session")
def mini_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the small checkpoint, made once for all processes of this run.

    It is only read; whoever writes to a data folder links the checkpoint into one of their own.
    """
    # Loads torch, which a machine that only measures another server may not have.
    from rotoscope.generation.mini.make import make_mini  # noqa: PLC0415
    from rotoscope.generation.weights import folder_of  # noqa: PLC0415
    from rotoscope.settings import Settings  # noqa: PLC0415

    own = tmp_path_factory.getbasetemp()
    home = (own.parent if hasattr(request.config, "workerinput") else own) / "mini-home"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = folder_of("mini", Settings(data_dir=home))
        if not folder.is_dir():
            make_mini(folder)
    return home

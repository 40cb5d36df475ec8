"""Fixtures of the worker's tests."""

import pytest

from rotoscope.worker import api
from tests.worker.stand_ins import Server


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a server to come back."""
    monkeypatch.setattr(api, "BACKOFF_S", (0.001,) * 6)

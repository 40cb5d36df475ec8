"""Fixtures of the worker's tests."""

import pytest
from tests.worker.stand_ins import Server

from rotoscope.worker import api


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a server to come back."""
    monkeypatch.setattr(api, "BACKOFF_S", (0.001,) * 6)

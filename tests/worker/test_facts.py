"""What a worker tells about itself."""

import pytest
import torch

from rotoscope import __version__
from rotoscope.generation.weights import CHECKPOINTS
from rotoscope.schema.worker import Presence
from rotoscope.settings import Settings
from rotoscope.worker.facts import facts_of


def test_a_worker_on_a_cpu_tells_what_it_runs() -> None:
    """Without anything about a card."""
    facts = facts_of(CHECKPOINTS["mini"], Settings(device="cpu"))()
    assert facts == {"version": __version__, "checkpoint": "mini", "device": "cpu"}


def test_a_worker_on_a_card_tells_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is at each call."""
    free = iter([60, 50])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (next(free), 100))
    facts = facts_of(CHECKPOINTS["mini"], Settings(device="auto"))
    assert [facts()["gpu_memory_used_bytes"] for _ in range(2)] == [40, 50]


def test_facts_fit_what_a_worker_may_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1, 2))
    for device in ("cpu", "cuda"):
        told = facts_of(CHECKPOINTS["mini"], Settings(device=device))()
        assert Presence(worker_id="w", facts=dict(told)).facts == told

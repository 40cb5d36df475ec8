"""Housekeeping while the server runs."""

from threading import Event

import anyio
import pytest

from rotoscope.web.reaper import reap, reaping
from tests.web.conftest import Site


def test_a_lost_job_is_queued_again(site: Site) -> None:
    """A worker that stays silent for a lease loses its job to the next claim."""
    job_id = site.submit()
    site.claim()
    site.clock.now += 61
    reap(site.parts)
    assert site.status(job_id)["status"] == "in_queue"
    assert site.claim()["attempt"] == 2


def test_a_job_lost_for_good_fails_and_keeps_no_files(site: Site) -> None:
    """After the last attempt the caller is told, and what the attempts stored is gone."""
    job_id = site.submit()
    for _ in range(2):
        key = site.store(site.claim())
        site.clock.now += 61
        reap(site.parts)
    assert site.result(job_id)["error"]["code"] == "worker_lost"
    assert site.parts.storage.output(key) is None


def test_the_rounds_go_on_after_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One failing round does not end the housekeeping."""
    third_round = Event()
    rounds: list[int] = []

    def failing() -> list[object]:
        rounds.append(len(rounds))
        if len(rounds) == 3:
            third_round.set()
        raise OSError("disk gone")

    monkeypatch.setattr(site.parts.store, "reap", failing)

    async def keep_house() -> bool:
        async with reaping(site.parts, every_s=0.0):
            return await anyio.to_thread.run_sync(third_round.wait, 30)

    assert anyio.run(keep_house)

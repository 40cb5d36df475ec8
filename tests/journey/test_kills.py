"""Whatever is killed, every accepted job ends, once, and nothing is left lying about.

The job under test waits at the stand-in's gate while something is killed, then goes through.
"""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from rotoscope.client import Client
from rotoscope.schema.output import Result
from tests.journey.site import Site, await_stage, await_status

SMALL = {
    "video_size": {"width": 64, "height": 64},
    "num_frames": 9,
    "match_video_length": False,
    "video_quality": "low",
    "loras": [],
}


def submit(client: Client, clip: Path, prompt: str) -> str:
    uri = client.upload(clip).url
    return client.submit({**SMALL, "prompt": prompt, "video_url": uri}).request_id


def check_end(site: Site, client: Client, request_id: str, to: Path) -> Result:
    """The job has succeeded with one stored video, which can be downloaded."""
    result = client.wait(request_id, poll_s=0.05)
    assert result.status == "succeeded"
    assert len(site.stored_videos(request_id)) == 1
    assert client.download(result, to).stat().st_size == (result.media.size if result.media else 0)
    assert client.result(request_id) == result
    return result


def kill_worker(site: Site) -> None:
    site.kill_worker()
    site.start_worker()


def kill_server(site: Site) -> None:
    site.kill_server()
    site.start_server()


def kill_both(site: Site) -> None:
    site.kill_server()
    site.kill_worker()
    site.start_server()
    site.start_worker()


@pytest.mark.parametrize("kill", [kill_worker, kill_server, kill_both])
def test_a_kill_in_the_middle_of_a_job_loses_nothing(
    site: Site, clip: Path, tmp_path: Path, kill: Callable[[Site], None]
) -> None:
    """Neither the running job nor the one behind it, and neither ends twice."""
    site.start_worker()
    with site.client() as client:
        running = submit(client, clip, "gate")
        queued = submit(client, clip, "next")
        await_stage(client, running, "denoise")

        kill(site)
        site.open_gate()

        first = check_end(site, client, running, tmp_path / "first.mp4")
        second = check_end(site, client, queued, tmp_path / "second.mp4")
    assert first.finished_at
    assert second.finished_at
    site.end()
    assert site.leftovers() == []


def test_a_worker_that_outlives_the_server_keeps_its_job(
    site: Site, clip: Path, tmp_path: Path
) -> None:
    """Its lease is prolonged over the restart, so the work is done once."""
    site.start_worker()
    with site.client() as client:
        request_id = submit(client, clip, "gate")
        await_stage(client, request_id, "denoise")
        site.kill_server()
        # The generation ends while there is nobody to tell.
        site.open_gate()
        site.start_server()
        check_end(site, client, request_id, tmp_path / "out.mp4")
    (video,) = site.stored_videos(request_id)
    assert video.parent.name.startswith("1-"), "the first attempt's file"


def test_a_job_that_kills_its_workers_fails_in_the_end(site: Site, clip: Path) -> None:
    """After its last attempt, as worker_lost; the next job runs."""
    with site.client() as client:
        deadly = submit(client, clip, "gate")
        site.start_worker()
        await_stage(client, deadly, "denoise")
        site.kill_worker()
        await_status(client, deadly, lambda status: status.status == "in_queue")
        site.start_worker()
        await_stage(client, deadly, "denoise")
        site.kill_worker()
        result = client.wait(deadly, poll_s=0.05)
        assert result.status == "failed"
        assert result.error
        assert result.error.code == "worker_lost"
        assert site.stored_videos(deadly) == []

        site.start_worker()
        assert client.wait(submit(client, clip, "next"), poll_s=0.05).status == "succeeded"


def test_a_worker_told_to_end_hands_its_job_to_the_next(
    site: Site, clip: Path, tmp_path: Path
) -> None:
    """At once, not when its lease runs out, and without counting an attempt."""
    worker = site.start_worker()
    with site.client() as client:
        request_id = submit(client, clip, "gate")
        await_stage(client, request_id, "denoise")
        worker.terminate()
        worker.join()
        assert worker.exitcode == 0
        assert client.status(request_id).status == "in_queue"
        assert site.leftovers() == []

        site.open_gate()
        site.start_worker()
        check_end(site, client, request_id, tmp_path / "out.mp4")
    (video,) = site.stored_videos(request_id)
    assert video.parent.name.startswith("1-"), "still the first attempt"


def test_a_running_job_is_cancelled_and_the_next_one_runs(
    site: Site, clip: Path, tmp_path: Path
) -> None:
    """At its next step, in the same worker, and nothing of it is stored."""
    site.start_worker()
    with site.client() as client:
        running, following = submit(client, clip, "gate"), submit(client, clip, "next")
        await_stage(client, running, "denoise")
        asked = httpx2.post(f"{site.url}/v1/requests/{running}/cancel?running=true")
        assert asked.json()["outcome"] == "cancelling"
        await_status(client, running, lambda status: status.status == "cancelled")
        check_end(site, client, following, tmp_path / "out.mp4")
        assert client.result(running).output is None
    assert site.stored_videos(running) == []
    site.end()
    assert site.leftovers() == []


def test_a_job_that_raises_fails_and_the_next_one_runs(site: Site, clip: Path) -> None:
    """In the same worker, with nothing left of it."""
    site.start_worker()
    with site.client() as client:
        bad, good = submit(client, clip, "raise"), submit(client, clip, "next")
        failed = client.wait(bad, poll_s=0.05)
        assert failed.error
        assert failed.error.code == "internal_error"
        assert client.status(bad).status == "completed"
        assert client.wait(good, poll_s=0.05).status == "succeeded"
    site.end()
    assert site.leftovers() == []

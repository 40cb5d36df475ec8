"""Two API processes, three workers, one PostgreSQL, one object store: clients see one server."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from rotoscope.client import Client
from rotoscope.schema.output import Result
from tests.faults.load import MODEL, SMALL
from tests.faults.place import end_worker
from tests.faults.witness import read_all
from tests.faults.workers import start_worker
from tests.journey.cluster import Cluster, cluster

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")

    def start(made: Cluster, number: int) -> Callable[[], None]:
        own = folder / f"worker-{number}"
        own.mkdir()
        worker = start_worker(made.url, made.worker_key, own, folder / "witness", folder / "clock")
        return lambda: end_worker(worker)

    with cluster(folder, start) as made:
        yield made


@pytest.fixture
def token(made: Cluster) -> str:
    return made.create_key("me")


def curl(token: str, method: str, url: str, *more: str) -> str:
    """The very command of the README, with a connection of its own."""
    done = subprocess.run(
        ["curl", "--silent", "--fail-with-body", "--request", method, "--url", url,
         "--header", f"Authorization: Bearer {token}", *more],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    return done.stdout


def submit(client: Client, clip: Path, prompt: str) -> str:
    uri = client.upload(clip).url
    return client.submit({**SMALL, "prompt": prompt, "video_url": uri}).request_id


def check(client: Client, request_id: str, to: Path) -> Result:
    result = client.wait(request_id, poll_s=0.1)
    assert result.status == "succeeded", result.error
    assert result.media
    assert client.download(result, to).stat().st_size == result.media.size
    return result


def test_each_api_process_tells_the_same(
    made: Cluster, token: str, clip: Path, tmp_path: Path
) -> None:
    """What one of them accepted, the other knows, and the video is the same from both."""
    first, second = made.api_urls[-2:]
    with Client(first, token) as one, Client(second, token) as other:
        request_id = submit(one, clip, "on one")
        result = check(other, request_id, tmp_path / "other.mp4")
        again = check(one, request_id, tmp_path / "one.mp4")
        assert again.finished_at == result.finished_at
        assert again.media == result.media
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()


def test_a_call_after_the_other_goes_to_whichever_is_next(
    made: Cluster, token: str, clip: Path
) -> None:
    """Each call on a connection of its own, as curl makes them: upload, submit, status, result."""
    base = made.url
    upload = httpx2.Response(
        200, text=curl(token, "POST", f"{base}/v1/uploads", "-F", f"file=@{clip}")
    )
    body = {**SMALL, "prompt": "by curl", "video_url": upload.json()["url"]}
    content = httpx2.Request("POST", base, json=body).content.decode()
    answer = curl(
        token, "POST", f"{base}{MODEL}", "--header", "Content-Type: application/json",
        "--data", content,
    )  # fmt: skip
    request_id = httpx2.Response(200, text=answer).json()["request_id"]
    word = ""
    while word not in ("completed", "cancelled"):
        answer = curl(token, "GET", f"{base}/v1/requests/{request_id}/status")
        word = httpx2.Response(200, text=answer).json()["status"]
    answer = curl(token, "GET", f"{base}/v1/requests/{request_id}/result")
    result = httpx2.Response(200, text=answer).json()
    assert result["status"] == "succeeded"
    assert result["output"]["video"].startswith(base)


def test_an_api_process_that_dies_is_not_missed(
    made: Cluster, token: str, clip: Path, tmp_path: Path
) -> None:
    """While twelve jobs run and wait, one process is killed: every job ends well, each once."""
    with Client(made.url, token) as client:
        before = [submit(client, clip, f"before {number}") for number in range(6)]
    made.kill_api(0)
    with Client(made.url, token) as client:
        after = [submit(client, clip, f"after {number}") for number in range(6)]

    def finish(request_id: str) -> Result:
        with Client(made.url, token) as client:
            return check(client, request_id, tmp_path / f"{request_id}.mp4")

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(finish, [*before, *after]))
    assert len({result.request_id for result in results}) == 12
    starts = [seen for seen in read_all(made.folder / "witness") if seen.what == "start"]
    assert len({seen.worker for seen in starts}) > 1, "more than one worker had a share"
    assert set(before + after) <= {seen.request_id for seen in starts}
    # In the dead one's place, for the other tests.
    made.start_api()

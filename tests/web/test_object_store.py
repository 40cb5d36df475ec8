"""Results and uploads in a real S3 server: what is signed, streamed, deleted, and what it costs."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import psutil
import pytest

from rotoscope.errors import OperatorError
from rotoscope.settings import Settings
from rotoscope.storage import Storage, open_storage
from rotoscope.storage.objects import open_bucket
from rotoscope.web.retention import drop_everything, sweep_orphans
from tests.seaweed import READER_ID, S3Server, s3_server
from tests.web.conftest import OpenSite, Site

CONTENT = bytes(range(256)) * 64
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("seaweed")) as started:
        yield started


@pytest.fixture(autouse=True)
def _credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def presigned(open_site: OpenSite, server: S3Server) -> Site:
    return open_site(storage_url=server.url, storage_urls="presigned", presigned_s=600)


@pytest.fixture
def proxied(open_site: OpenSite, server: S3Server) -> Site:
    return open_site(storage_url=server.url)


def made(site: Site) -> tuple[str, str]:
    """A request that succeeded, and its result's URL."""
    job_id = site.submit()
    site.finish(site.claim(), CONTENT)
    return job_id, str(site.result(job_id)["output"]["video"])


def keys(server: S3Server, prefix: str) -> set[str]:
    return {found["path"] for chunk in server.store().list(prefix) for found in chunk}


def get(url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """As any client elsewhere: without keys, following nothing."""
    with httpx2.Client(trust_env=False) as http:
        return http.request(method, url, headers=headers)


def led_to(site: Site, url: str, method: str = "GET") -> str:
    """Where a result's URL leads."""
    answer = site.http.request(method, url, follow_redirects=False)
    assert answer.status_code == 307, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.headers["Location"]


def test_a_result_leads_to_the_store(presigned: Site, server: S3Server) -> None:
    """Its own URL stays the same; the store's holds the whole file, its type, and ranges."""
    _, url = made(presigned)
    assert url.startswith("http://testserver/files/outputs/")
    link = led_to(presigned, url)
    assert link.startswith(server.endpoint)

    whole = get(link)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["Content-Type"] == "video/mp4"
    part = get(link, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    head = get(led_to(presigned, url, "HEAD"), "HEAD")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(CONTENT)))


def test_a_presigned_url_cannot_be_turned(presigned: Site) -> None:
    """Another file, a longer life, another method or no signature: the store refuses each."""
    _, url = made(presigned)
    _, other = made(presigned)
    link = urlsplit(led_to(presigned, url))
    signed = dict(parse_qsl(link.query))

    def asked(path: str = link.path, method: str = "GET", **changed: str) -> int:
        query = urlencode(signed | changed)
        return get(link._replace(path=path, query=query).geturl(), method).status_code

    assert asked() == 200
    assert asked(path=urlsplit(led_to(presigned, other)).path) == 403
    assert asked(**{"X-Amz-Expires": "604800"}) == 403
    assert asked(**{"X-Amz-Signature": "0" * 64}) == 403
    assert asked(method="DELETE") == 403
    assert asked(method="PUT") == 403
    assert get(link._replace(query="").geturl()).status_code == 403
    assert asked() == 200, "one of the refused calls changed the file"


def test_a_presigned_url_ends(presigned: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its seconds it is refused; the result's own URL leads to a new one."""
    _, url = made(presigned)
    monkeypatch.setattr(presigned.parts.storage, "_presigned_s", 1)
    link = led_to(presigned, url)
    assert "X-Amz-Expires=1&" in link
    gone = threading.Event()
    for _ in range(100):
        if get(link).status_code == 403:
            gone.set()
            break
        gone.wait(0.1)
    assert gone.is_set()
    monkeypatch.setattr(presigned.parts.storage, "_presigned_s", 600)
    assert get(led_to(presigned, url)).status_code == 200


def test_a_result_is_passed_on(proxied: Site) -> None:
    """Without presigned URLs the server itself answers, whole and in ranges."""
    _, url = made(proxied)
    whole = proxied.http.get(url, follow_redirects=False)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    part = proxied.http.get(url, headers={"Range": "bytes=-100"})
    assert (part.status_code, part.content) == (206, CONTENT[-100:])


def test_a_worker_reads_an_upload(proxied: Site, server: S3Server) -> None:
    """What a client uploads is in the store, with its facts, and a worker gets it from there."""
    answer = proxied.http.post("/v1/uploads", content=CONTENT, headers=proxied.client).json()
    upload_id = answer["url"].rpartition("/")[2]
    files = {f"uploads/{upload_id}", f"uploads/{upload_id}.json"}
    assert files <= keys(server, "uploads/")

    got = proxied.http.get(f"/v1/worker/uploads/{upload_id}", headers=proxied.worker)
    assert (got.status_code, got.content) == (200, CONTENT)

    proxied.parts.storage.delete_upload(upload_id)
    assert not files & keys(server, "uploads/")
    got = proxied.http.get(f"/v1/worker/uploads/{upload_id}", headers=proxied.worker)
    assert (got.status_code, got.json()["error_code"]) == (404, 404001)


def test_a_start_tries_what_it_will_need(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that only read, or wrong ones, end it with a sentence; a trial leaves no file."""
    before = keys(server, "uploads/")
    settings = Settings(data_dir=tmp_path, storage_url=server.url)
    open_storage(settings)
    assert keys(server, "uploads/") == before
    for name, value in (("AWS_ACCESS_KEY_ID", READER_ID), ("AWS_SECRET_ACCESS_KEY", "wrong")):
        monkeypatch.setenv(name, value)
        with pytest.raises(OperatorError, match=r"Files cannot be kept in s3://clips/\S+: .*403"):
            open_storage(settings)


def test_what_ended_leaves_nothing_in_the_store(open_site: OpenSite, server: S3Server) -> None:
    """A dropped request's files are gone, and so are stray ones; all else stays."""
    site = open_site(storage_url=f"{server.url}/below")
    (dropped, _), (kept, url) = made(site), made(site)
    job = site.parts.store.get(dropped)
    assert job is not None
    assert drop_everything(job, site.parts)
    with site.parts.storage.receive(10) as incoming:
        site.parts.storage.keep_output(incoming, "stray", 1, "out.mp4")
    assert jobs_in(server) == {kept, "stray"}

    sweep_orphans(site.parts, datetime.now(UTC) + timedelta(hours=2))
    assert jobs_in(server) == {kept}
    assert site.http.get(url).content == CONTENT


def jobs_in(server: S3Server) -> set[str]:
    return {key.split("/")[2] for key in keys(server, "below/outputs/")}


def test_a_store_that_is_away_is_told(proxied: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers are asked to come back; the server is not ready; nothing is a dead link."""
    _, url = made(proxied)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("rotoscope.storage.objects._RETRY", {"max_retries": 0})
    monkeypatch.setattr(proxied.parts.storage, "_bucket", open_bucket("s3://clips/rotoscope"))

    for answer in (
        proxied.http.get(url),
        proxied.http.post("/v1/uploads", content=b"x", headers=proxied.client),
        proxied.http.get("/readyz?workers=0"),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (503, 503001)
        assert int(answer.headers["Retry-After"]) > 0


PUTTING = """
import sys, pathlib
from rotoscope.storage.objects import open_bucket
bucket = open_bucket(sys.argv[1])
print("putting", flush=True)
bucket.put(sys.argv[2], pathlib.Path(sys.argv[3]), "video/mp4")
print("done", flush=True)
"""


@pytest.mark.parametrize("after_s", [0, 0.05])
def test_a_killed_server_leaves_a_file_whole_or_not_at_all(
    tmp_path: Path, server: S3Server, after_s: float
) -> None:
    """Whenever it dies while it stores; storing again makes it whole."""
    file, size = tmp_path / "out.mp4", 32 * MIB
    with file.open("wb") as big:
        big.truncate(size)
    bucket, key = open_bucket(server.url), f"killed/{after_s}"
    command = [sys.executable, "-c", PUTTING, server.url, key, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as putting:
        assert putting.stdout is not None
        assert putting.stdout.readline() == b"putting\n"
        threading.Event().wait(after_s)
        putting.kill()
        done = putting.stdout.read() == b"done\n"

    found = bucket.find(key)
    assert found is None or found.size == size
    assert found is not None or not done
    assert found is None or after_s, "nothing was cut off"
    bucket.put(key, file, "video/mp4")
    found = bucket.find(key)
    assert found is not None
    assert found.size == size


@dataclass
class Peak:
    """The most memory this process had while a block ran, over that at its start, in MiB."""

    growth: float = 0.0

    def __enter__(self) -> Self:
        self._me, self._done = psutil.Process(), threading.Event()
        self._start = self._me.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            grown = (self._me.memory_info().rss - self._start) / MIB
            self.growth = max(self.growth, grown)


def test_a_large_file_takes_little_memory(tmp_path: Path, server: S3Server) -> None:
    """96 MiB go through to the store and back in a few MiB of this process."""
    storage = Storage(tmp_path, open_bucket(server.url))
    piece, pieces = bytes(MIB), 96

    with Peak() as up, storage.receive(pieces * MIB) as incoming:
        for _ in range(pieces):
            incoming.write(piece)
        upload = storage.keep_upload(incoming, owner="me", name="a", lifetime=timedelta(hours=1))
    file = storage.upload_file(upload.id)
    assert file is not None
    with Peak() as down:
        size = sum(len(got) for got in storage.read(file))

    assert size == file.size == pieces * MIB
    assert up.growth < 48
    assert down.growth < 32

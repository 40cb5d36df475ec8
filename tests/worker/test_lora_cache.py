"""Downloaded LoRAs: kept by content, asked for again, gone on with, evicted, shared."""

import hashlib
import multiprocessing
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from rotoscope.errors import FileTooLargeError, LoraDownloadError, OperatorError
from rotoscope.media.fetch import FetchPolicy, Version
from rotoscope.schema.hub import HubReference
from rotoscope.worker import lora_sources
from rotoscope.worker.lora_cache import STALE_S, CachedLora, LoraCache
from rotoscope.worker.lora_sources import LoraSources
from tests.https_site import HttpsSite, https_site

LIMIT = 1_000_000
BODY = bytes(range(256)) * 400


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HttpsSite]:
    with https_site(tmp_path) as site:
        yield site


@pytest.fixture
def cache(tmp_path: Path) -> LoraCache:
    return LoraCache(tmp_path / "loras", quota_bytes=LIMIT)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def sources(cache: LoraCache, site: HttpsSite) -> LoraSources:
    return LoraSources(cache, site.policy, max_bytes=LIMIT)


@pytest.mark.parametrize(
    "to", ["https://10.0.0.1/l", "http://8.8.8.8/l", "https://169.254.169.254/l"]
)
def test_the_guards_of_every_fetch_hold(sources: LoraSources, site: HttpsSite, to: str) -> None:
    """At the first hop and at those it leads to; nothing is kept."""
    for url in (to, site.redirect("/l", to)):
        with pytest.raises(LoraDownloadError) as error:
            sources.from_url(url, field="loras.0.path")
        assert not error.value.retryable
    assert sources.cache.list() == []


class Versioned:
    """A server's file with a tag; it counts what it sent, and can break off on the way."""

    def __init__(self, body: bytes = BODY, tag: str = '"1"') -> None:
        self.body = body
        self.tag = tag
        self.break_at: int | None = None
        self.sent = 0
        self.statuses: list[int] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("If-None-Match") == self.tag:
            self.begin(request, 304)
            return
        start = 0
        span, wanted = request.headers.get("Range"), request.headers.get("If-Range")
        if span and wanted == self.tag:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
        rest = self.body[start:]
        where = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        extra = {"Content-Range": where} if start else {}
        self.begin(request, 206 if start else 200, extra | {"Content-Length": str(len(rest))})
        part = rest[: self.break_at]
        request.wfile.write(part)
        self.sent += len(part)

    def begin(
        self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None
    ) -> None:
        self.statuses.append(status)
        request.send_response(status)
        for name, value in ({"ETag": self.tag} | (headers or {})).items():
            request.send_header(name, value)
        request.end_headers()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def put(cache: LoraCache, name: str, size: int = 10, job: Path | None = None) -> CachedLora:
    """A file of `size` bytes in the cache, from the source `name`."""
    with cache.downloading(name) as place:
        place.write_bytes(name.encode().ljust(size, b"."))
        return cache.adopt(place, name, Version(), job)


def here(cache: LoraCache) -> set[str]:
    return {source for entry in cache.list() for source in entry.sources}


def test_a_url_is_downloaded_once_and_asked_about_again(
    sources: LoraSources, site: HttpsSite
) -> None:
    """The second job sends the version it has, and gets its file without a byte."""
    answer = Versioned()
    url = site.serve("/l.safetensors", answer)

    first = sources.from_url(url, field="f")
    second = sources.from_url(f"{url}#note", field="f")

    assert first == second
    assert first.path.read_bytes() == BODY
    assert first.path.stem == first.sha256 == sha256(BODY)
    assert answer.statuses == [200, 304]
    assert answer.sent == len(BODY)


def test_a_url_that_changed_brings_the_new_file(sources: LoraSources, site: HttpsSite) -> None:
    """By its tag; the old content is still there, but the URL no longer means it."""
    answer = Versioned()
    url = site.serve("/l", answer)
    sources.from_url(url, field="f")
    answer.body, answer.tag = b"new", '"2"'

    assert sources.from_url(url, field="f").path.read_bytes() == b"new"
    assert [entry.sources for entry in sources.cache.list()] == [(url,), ()]


def test_a_date_serves_where_there_is_no_tag(sources: LoraSources, site: HttpsSite) -> None:
    """As Last-Modified."""
    date = "Sat, 01 Aug 2026 10:00:00 GMT"
    asked: list[str | None] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers.get("If-Modified-Since"))
        request.send_response(304 if asked[-1] else 200)
        request.send_header("Last-Modified", date)
        request.end_headers()
        if not asked[-1]:
            request.wfile.write(b"lora")

    url = site.serve("/l", answer)
    for _ in range(2):
        assert sources.from_url(url, field="f").path.read_bytes() == b"lora"
    assert asked == [None, date]


def test_a_server_that_tells_no_version_is_believed_each_time(
    sources: LoraSources, site: HttpsSite
) -> None:
    """It is downloaded again; the same content is one file."""
    url = site.serve_bytes("/l", b"lora")
    found = {sources.from_url(url, field="f") for _ in range(2)}

    assert len(site.asked) == 2
    assert len(found) == len(sources.cache.list()) == 1


@pytest.mark.parametrize("status", [404, 503, 304])
def test_what_cannot_be_asked_about_is_not_used(
    sources: LoraSources, site: HttpsSite, status: int
) -> None:
    """A file in the cache is no proof of what the URL means today."""
    url = site.serve_bytes("/l", b"lora")
    sources.from_url(url, field="f")
    site.serve_bytes("/l", b"", status)

    with pytest.raises(LoraDownloadError) as error:
        sources.from_url(url, field="loras.4.path")

    assert error.value.field == "loras.4.path"
    assert error.value.retryable is (status == 503)


def test_an_unreachable_host_fails_although_its_file_is_here(
    sources: LoraSources, site: HttpsSite
) -> None:
    """So nothing is made with what may have changed."""
    sources.from_url(url := site.serve("/l", Versioned()), field="f")
    nowhere = url.replace(site.base, "https://127.0.0.1:9")
    with sources.cache._index() as index:
        index.execute("UPDATE sources SET source = ?", (nowhere,))

    with pytest.raises(LoraDownloadError, match="could not be reached") as error:
        sources.from_url(nowhere, field="f")
    assert error.value.retryable


def test_a_broken_download_goes_on(sources: LoraSources, site: HttpsSite) -> None:
    """Within one call as long as it gets further; no byte is sent twice."""
    answer = Versioned()
    answer.break_at = len(BODY) // 3 + 1
    found = sources.from_url(site.serve("/l", answer), field="f")

    assert found.sha256 == sha256(BODY)
    assert answer.statuses == [200, 206, 206]
    assert answer.sent == len(BODY)


def test_the_next_attempt_goes_on_too(
    sources: LoraSources, site: HttpsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first gave up; if the file has changed meanwhile, from its beginning."""
    monkeypatch.setattr(lora_sources, "TRIES", 1)
    answer = Versioned()
    url = site.serve("/l", answer)
    for tag, statuses in (('"1"', [200, 206]), ('"2"', [200, 200])):
        answer.break_at = 1000
        with pytest.raises(LoraDownloadError, match="broke off"):
            sources.from_url(url, field="f")
        answer.break_at, answer.tag = None, tag
        assert sources.from_url(url, field="f").sha256 == sha256(BODY)
        assert answer.statuses == statuses
        answer.statuses.clear()
        sources.cache.delete(url)
        answer.tag = '"1"'


def test_weak_tags_do_not_join_parts(
    sources: LoraSources, site: HttpsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They promise the same meaning, not the same bytes."""
    monkeypatch.setattr(lora_sources, "TRIES", 1)
    answer = Versioned(tag='W/"1"')
    answer.break_at = 1000
    url = site.serve("/l", answer)
    with pytest.raises(LoraDownloadError):
        sources.from_url(url, field="f")
    answer.break_at = None

    assert sources.from_url(url, field="f").sha256 == sha256(BODY)
    assert answer.statuses == [200, 200]


def test_parts_obey_the_limit_together(
    cache: LoraCache, site: HttpsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is here already counts."""
    sources = LoraSources(cache, site.policy, max_bytes=len(BODY) - 1)
    monkeypatch.setattr(lora_sources, "TRIES", 1)
    with cache.downloading(url := site.serve("/l", Versioned())) as place:
        place.write_bytes(BODY[:1000])
        place.with_name(f"{place.name}.etag").write_text('"1"')

    with pytest.raises(FileTooLargeError):
        sources.from_url(url, field="f")
    assert not place.exists()


def test_another_part_than_asked_for_is_refused(sources: LoraSources, site: HttpsSite) -> None:
    """Joined, it would be a file that nobody made."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(206)
        request.send_header("Content-Range", "bytes 5-9/10")
        request.end_headers()
        request.wfile.write(b"56789")

    with sources.cache.downloading(url := site.serve("/l", answer)) as place:
        place.write_bytes(b"012")
        place.with_name(f"{place.name}.etag").write_text('"1"')

    with pytest.raises(LoraDownloadError, match="another part"):
        sources.from_url(url, field="f")


def bring(folder: Path, policy: FetchPolicy, url: str) -> CachedLora:
    return LoraSources(LoraCache(folder, LIMIT), policy, LIMIT).from_url(url, field="f")


def test_processes_share_one_download(tmp_path: Path, site: HttpsSite) -> None:
    """Three workers want one LoRA at once: one downloads it, the others ask whether it is new."""
    answer = Versioned()

    def slow(request: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        answer(request)

    url = site.serve("/l", slow)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=spawn) as pool:
        waiting = [pool.submit(bring, tmp_path / "loras", site.policy, url) for _ in range(3)]
        found = {one.result(timeout=60) for one in waiting}

    assert len(found) == 1
    assert sorted(answer.statuses) == [200, 304, 304]


def test_the_least_recently_used_go_first(cache: LoraCache) -> None:
    """Down to the quota; what was just brought stays."""
    cache.quota_bytes = 30
    for name in "abc":
        put(cache, name)
    cache.use("a", None)
    put(cache, "d")

    assert here(cache) == {"a", "c", "d"}
    assert len(list((cache._folder / "files").iterdir())) == 3


def test_pinned_files_stay(cache: LoraCache) -> None:
    """Until they are unpinned, and then the quota holds for them at once."""
    cache.quota_bytes = 10
    put(cache, "a")
    cache.pin("a", pinned=True)
    put(cache, "b")
    put(cache, "c")
    assert here(cache) == {"a", "c"}
    with pytest.raises(OperatorError, match="pinned"):
        cache.delete("a")

    cache.pin("a", pinned=False)

    assert here(cache) == {"c"}


def test_what_a_running_job_uses_stays(cache: LoraCache, job: Path) -> None:
    """As long as its folder is there, however it ends."""
    cache.quota_bytes = 10
    put(cache, "a", job=job)
    put(cache, "b")
    assert here(cache) == {"a", "b"}
    assert [entry.in_use for entry in cache.list()] == [False, True]
    with pytest.raises(OperatorError, match="running job"):
        cache.delete("a")

    shutil.rmtree(job)
    put(cache, "c")

    assert here(cache) == {"c"}


def test_a_use_by_an_earlier_jobs_folder_name_is_over(cache: LoraCache, job: Path) -> None:
    """A row for a folder that is gone is forgotten when it is looked at."""
    put(cache, "a", job=job)
    shutil.rmtree(job)
    assert not cache.list()[0].in_use
    with cache._index() as index:
        assert index.execute("SELECT COUNT(*) FROM uses").fetchone() == (0,)


def test_names_are_sources_or_the_start_of_a_hash(cache: LoraCache) -> None:
    """At least six characters of it."""
    found = put(cache, "https://h.test/a")

    for name in ("https://h.test/a", found.sha256, found.sha256[:6]):
        assert cache.find(name).sha256 == found.sha256
    for name in (found.sha256[:5], "https://h.test/b", ""):
        with pytest.raises(OperatorError, match="No LoRA here"):
            cache.find(name)
    cache.delete(found.sha256)
    assert cache.list() == []
    assert not found.path.exists()


def test_a_urls_query_is_not_shown(cache: LoraCache) -> None:
    """It may hold a token; the URL still names its file, with it or without."""
    found = put(cache, "https://h.test/a?token=secret")

    assert here(cache) == {"https://h.test/a"}
    assert cache.find("https://h.test/a?token=secret#x").sha256 == found.sha256
    assert cache.find("https://h.test/a").path == found.path
    put(cache, "https://h.test/a?token=other")
    with pytest.raises(OperatorError, match="means 2 LoRAs"):
        cache.find("https://h.test/a")


def test_what_a_killed_process_left_is_removed(cache: LoraCache) -> None:
    """A file that no row names, and parts that nobody goes on with."""
    found = put(cache, "a")
    orphan = found.path.with_name(f"{'0' * 64}.safetensors")
    orphan.touch()
    with cache.downloading("b") as old:
        old.touch()
    os.utime(old, times=(0, time.time() - STALE_S - 60))
    with cache.downloading("c") as young:
        young.touch()

    put(cache, "d")

    assert not orphan.exists()
    assert not old.exists()
    assert young.exists()


def test_a_file_that_was_removed_by_hand_is_brought_again(
    sources: LoraSources, site: HttpsSite
) -> None:
    """The index is no proof that it is there."""
    answer = Versioned()
    url = site.serve("/l", answer)
    sources.from_url(url, field="f").path.unlink()

    assert sources.from_url(url, field="f").path.read_bytes() == BODY
    assert answer.statuses == [200, 200]


def pin_and_fail(cache: LoraCache) -> None:
    with cache._index() as index:
        index.execute("UPDATE files SET pinned = 1")
        index.execute("INSERT INTO uses VALUES ('x', 'no such file')")


def test_an_error_undoes_what_the_index_was_told(cache: LoraCache) -> None:
    """All of one change, or nothing of it."""
    put(cache, "a")
    with pytest.raises(sqlite3.IntegrityError):
        pin_and_fail(cache)

    assert not cache.list()[0].pinned


def test_a_commit_of_a_repository_is_downloaded_once(
    cache: LoraCache, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And known by its commit; tests/generation/test_hub_loras.py speaks to a hub."""
    exact, downloads = HubReference("a/style", "c" * 40, "l.safetensors"), []

    def download(reference: HubReference, *, into: Path, **_: object) -> Path:
        downloads.append(reference)
        into.mkdir()
        (into / "l.safetensors").write_bytes(b"lora")
        return into / "l.safetensors"

    monkeypatch.setattr(lora_sources, "find_hub_lora", lambda *_, **__: exact)
    monkeypatch.setattr(lora_sources, "download_hub_lora", download)
    sources = LoraSources(cache, FetchPolicy(), LIMIT)
    asked = HubReference("a/style")
    found = [sources.from_hub(asked, None, field="f", job=job) for _ in range(2)]

    assert found[0] == found[1] == (cache.use(str(exact), None), exact)
    assert found[0][0].path.read_bytes() == b"lora"
    assert downloads == [exact]
    assert here(cache) == {f"a/style@{'c' * 40}/l.safetensors"}
    assert cache.list()[0].in_use
    assert [path.suffix for path in (cache._folder / "downloads").iterdir()] == [".lock"]

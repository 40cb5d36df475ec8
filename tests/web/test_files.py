"""Results as a browser fetches them, and uploads."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from obstore.store import MemoryStore

from rotoscope.settings import Settings
from rotoscope.storage import Bucket
from rotoscope.storage import storage as storages
from rotoscope.storage.folder import FolderBucket
from rotoscope.storage.objects import ObjectBucket
from tests.web.conftest import OpenSite, Site

CONTENT = b"0123456789"


@pytest.fixture(params=["folder", "objects"])
def open_site(
    request: pytest.FixtureRequest, open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> OpenSite:
    """With files in a folder, and in an object store (in memory) that the server passes on."""

    def bucket(settings: Settings) -> Bucket:
        if request.param == "folder":
            return FolderBucket(settings.data_dir)
        return ObjectBucket(MemoryStore())

    monkeypatch.setattr(storages, "_bucket", bucket)
    return open_site


@pytest.fixture
def url(site: Site) -> str:
    job_id = site.submit()
    site.finish(site.claim(), CONTENT)
    return str(site.result(job_id)["output"]["video"])


def test_a_result_needs_no_key(site: Site, url: str) -> None:
    """The URL alone is enough, and says what it holds."""
    answer = site.http.get(url)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == "10"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert url.endswith("/out.mp4")


def test_head_tells_without_the_bytes(site: Site, url: str) -> None:
    """HEAD has the headers of GET and no body."""
    head, get = site.http.head(url), site.http.get(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Accept-Ranges", "Last-Modified"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("asked", "content", "range_"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
    ],
)
def test_a_browser_can_seek(site: Site, url: str, asked: str, content: bytes, range_: str) -> None:
    """A range is answered with those bytes and their place."""
    answer = site.http.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, content)
    assert answer.headers["Content-Range"] == range_


def test_several_ranges_come_in_parts_or_whole(site: Site, url: str) -> None:
    """Two ranges are one answer of two parts; out of an object store the whole file."""
    answer = site.http.get(url, headers={"Range": "bytes=0-1,8-9"})
    if answer.status_code == 200:
        assert answer.content == CONTENT
        return
    assert answer.status_code == 206
    assert answer.headers["Content-Type"].startswith("multipart/byteranges")
    assert b"bytes 8-9/10" in answer.content


def test_only_the_caller_keeps_a_copy(site: Site, url: str) -> None:
    """What stands between must not go on serving a file that was deleted."""
    assert site.http.get(url).headers["Cache-Control"].startswith("private, max-age=86400")


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=5-2", "bytes=-0", "bytes=0-1,20-30"])
def test_a_range_outside_is_told(site: Site, url: str, asked: str) -> None:
    """The error names the file's size."""
    answer = site.http.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.json()["error_code"]) == (416, 416001)
    assert answer.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("asked", ["frames=0-3", "bytes", "bytes=a-b", "bytes=", "bytes=--1"])
def test_a_range_that_is_none_is_ignored(site: Site, url: str, asked: str) -> None:
    """An unknown or broken range gets the whole file."""
    answer = site.http.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_an_unchanged_file_is_not_sent_again(site: Site, url: str) -> None:
    """With its ETag a file is a 304; with another's it is sent; ranges hang on it too."""
    etag = site.http.get(url).headers["ETag"]

    same = site.http.get(url, headers={"If-None-Match": f'"x", {etag}'})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    assert site.http.get(url, headers={"If-None-Match": '"x"'}).status_code == 200
    ranged = {"Range": "bytes=0-3"}
    assert site.http.get(url, headers=ranged | {"If-Range": etag}).status_code == 206
    assert site.http.get(url, headers=ranged | {"If-Range": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    "path", ["", "keys.sqlite", "../keys.sqlite", "%2e%2e/keys.sqlite", "outputs/", "uploads/x"]
)
def test_no_other_file_is_served(site: Site, path: str) -> None:
    """Only results are files here, whatever the path looks like."""
    answer = site.http.get(f"/files/{path}")
    assert answer.status_code == 404
    assert b"SQLite" not in answer.content


def test_an_upload_is_fetched_by_its_owner_alone(site: Site) -> None:
    """Whole or in part, and never as a page of this server, whatever is in it."""
    uploaded = site.http.post("/v1/uploads", content=CONTENT, headers=site.client).json()
    path = "/v1/uploads/" + uploaded["url"].rpartition("/")[2]

    whole = site.http.get(path, headers=site.client)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["content-disposition"] == "attachment"
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = site.http.get(path, headers=site.client | {"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    for foreign in (
        site.http.get(path, headers=site.other),
        site.http.get("/v1/uploads/x", headers=site.client),
    ):
        assert (foreign.status_code, foreign.json()["error_code"]) == (404, 404001)


def test_a_raw_body_is_an_upload(site: Site) -> None:
    """The answer holds a URI, size, hash and the end of its time."""
    before = datetime.now(UTC)
    answer = site.http.post("/v1/uploads?name=a.mp4", content=CONTENT, headers=site.client)
    found = answer.json()

    assert answer.status_code == 200
    assert found["url"].startswith("rotoscope://uploads/")
    assert found["size"] == 10
    assert found["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    left = datetime.fromisoformat(found["expires_at"]) - before
    assert timedelta(hours=24) <= left < timedelta(hours=24, minutes=5)


def test_a_form_is_an_upload(site: Site) -> None:
    """A browser's form with one file works as the raw body does, and keeps the file's name."""
    answer = site.http.post("/v1/uploads", files={"file": ("b.mp4", CONTENT)}, headers=site.client)
    upload_id = answer.json()["url"].rpartition("/")[2]
    upload = site.parts.storage.upload(upload_id)

    assert answer.json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert upload is not None
    assert upload.name == "b.mp4"


def test_a_form_without_a_file_is_told(site: Site) -> None:
    """A form that holds only text is an input error."""
    answer = site.http.post("/v1/uploads", files={"note": (None, "hello")}, headers=site.client)
    assert (answer.status_code, answer.json()["error_code"]) == (422, 422001)


@pytest.mark.parametrize(
    ("kind", "content", "problem"),
    [
        ("multipart/form-data", b"x", "names no boundary"),
        ("multipart/form-data; boundary=b", b"x", "cannot be read"),
        ("multipart/form-data; boundary=b", b"", "breaks off"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n0123',
            "breaks off",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n0123\r\n' * 2
            + b"--b--\r\n",
            "more than one file",
        ),
    ],
)
def test_a_broken_form_is_told(site: Site, kind: str, content: bytes, problem: str) -> None:
    """A form that cannot be read whole is a 400 in the usual shape, and leaves no upload."""
    headers = site.client | {"Content-Type": kind}
    answer = site.http.post("/v1/uploads", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, 400009)
    assert problem in answer.json()["error_message"]
    assert not list(site.parts.storage.uploads(older_than=datetime.now(UTC) + timedelta(1)))


def test_a_form_comes_in_any_pieces(site: Site) -> None:
    """Byte by byte, with a field before the file, and bytes that look like the end."""
    content = b"01\r\n--b\r\n--\r--bound" + CONTENT
    form = (
        b'--bound\r\ncontent-disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--bound\r\nContent-Disposition: form-data; name="file"; filename="b.mp4"\r\n'
        b"Content-Type: video/mp4\r\n\r\n" + content + b"\r\n--bound--\r\n"
    )
    headers = site.client | {"Content-Type": 'multipart/form-data; boundary="bound"'}
    pieces = (form[at : at + 1] for at in range(len(form)))
    answer = site.http.post("/v1/uploads", content=pieces, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()


def test_an_upload_over_the_limit_is_refused(open_site: OpenSite) -> None:
    """The largest kind of input is the limit, for raw bodies and forms alike."""
    site = open_site(max_video_bytes=5, max_image_bytes=5, max_lora_bytes=8)
    for answer in (
        site.http.post("/v1/uploads", content=CONTENT, headers=site.client),
        site.http.post("/v1/uploads", content=iter([b"x"] * 9), headers=site.client),
        site.http.post("/v1/uploads", files={"file": ("a", CONTENT)}, headers=site.client),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (413, 413001)
    assert site.http.post("/v1/uploads", content=b"x" * 8, headers=site.client).status_code == 200

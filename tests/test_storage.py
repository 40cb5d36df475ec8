"""Files are whole or absent, and no path of a client's leads anywhere, wherever they are kept."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from rotoscope.errors import BodyTooLargeError, OperatorError, UnavailableError
from rotoscope.settings import Settings
from rotoscope.storage import Bucket, Storage, Stored, Upload, open_storage, upload_id
from rotoscope.storage.folder import FolderBucket
from rotoscope.storage.objects import ObjectBucket, open_bucket

DAY = timedelta(days=1)
LATER = datetime.now(UTC) + DAY


@dataclass(frozen=True)
class Place:
    """A storage, and the sight of what lies in it."""

    storage: Storage
    found: Callable[[], set[str]]


def folder_place(folder: Path) -> Place:
    def keys() -> set[str]:
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        return {key for key in found if key.startswith(("outputs/", "uploads/"))}

    return Place(Storage(folder), keys)


def memory_place(folder: Path) -> Place:
    store = MemoryStore()

    def keys() -> set[str]:
        return {found["path"] for chunk in store.list() for found in chunk}

    return Place(Storage(folder, ObjectBucket(store)), keys)


@pytest.fixture(params=[folder_place, memory_place], ids=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    return made


@pytest.fixture
def storage(place: Place) -> Storage:
    return place.storage


def keep_output(storage: Storage, content: bytes, job_id: str = "job", attempt: int = 1) -> str:
    with storage.receive(1000) as incoming:
        incoming.write(content)
        return storage.keep_output(incoming, job_id, attempt, "out.mp4")


def keep_upload(storage: Storage, content: bytes, lifetime: timedelta = DAY) -> Upload:
    with storage.receive(1000) as incoming:
        incoming.write(content)
        return storage.keep_upload(incoming, owner="me", name="a.mp4", lifetime=lifetime)


def content(storage: Storage, file: Stored | None) -> bytes:
    assert file is not None
    return b"".join(storage.read(file))


def left_behind(folder: Path) -> list[Path]:
    """Files that wait on their way in."""
    found = (folder / "incoming").rglob("*")
    return [path for path in found if path.is_file() and path.name != "lock"]


def test_an_output_is_found_by_its_key(storage: Storage) -> None:
    """What was kept is read back, under a key of the job and the attempt."""
    key = keep_output(storage, b"video", attempt=3)
    found = storage.output(key)

    assert content(storage, found) == b"video"
    assert found is not None
    assert (found.key, found.size) == (key, 5)
    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=5)
    assert key.startswith("outputs/job/3-")
    assert key.endswith("/out.mp4")


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (1, 3), (4, 5), (0, 1), (2, 2)])
def test_a_part_of_an_output_is_read(storage: Storage, start: int, stop: int) -> None:
    """From the first byte up to the last, whatever lies around them."""
    file = storage.output(keep_output(storage, b"video"))
    assert file is not None
    assert b"".join(storage.read(file, start, stop)) == b"video"[start:stop]


def test_a_file_is_read_in_pieces(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small pieces are the same file."""
    monkeypatch.setattr("rotoscope.storage.objects.PIECE", 3)
    monkeypatch.setattr("rotoscope.storage.folder.PIECE", 3)
    file = storage.output(keep_output(storage, b"0123456789"))
    assert file is not None
    assert list(storage.read(file, 1, 9)) == [b"123", b"456", b"78"]


def test_an_empty_file_is_a_file(storage: Storage) -> None:
    """No byte is no less kept."""
    assert content(storage, storage.output(keep_output(storage, b""))) == b""


def test_keys_are_not_guessed(storage: Storage) -> None:
    """The same job, attempt and name give another key each time."""
    assert keep_output(storage, b"a") != keep_output(storage, b"b")


@pytest.mark.parametrize("name", ["", ".hidden", "../out.mp4", "a/b", "a\0b", "a b", "x" * 101])
def test_an_output_has_a_plain_name(place: Place, tmp_path: Path, name: str) -> None:
    """A name that could be a path is refused, and nothing is left behind."""
    storage = place.storage
    with storage.receive(10) as incoming, pytest.raises(ValueError, match="plain file name"):
        storage.keep_output(incoming, "job", 1, name)
    assert not place.found()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    "key",
    ["", "keys.sqlite", "../keys.sqlite", "outputs/../keys.sqlite", "outputs/job/1-0/../../x"],
)
def test_no_other_file_is_an_output(storage: Storage, tmp_path: Path, key: str) -> None:
    """Only keys of outputs are looked up."""
    (tmp_path / "keys.sqlite").write_text("secret")
    assert storage.output(key) is None


def test_a_file_over_the_limit_is_refused_and_removed(storage: Storage, tmp_path: Path) -> None:
    """The limit holds while the bytes come in; what came is removed."""
    with storage.receive(4) as incoming:
        incoming.write(b"1234")
        with pytest.raises(BodyTooLargeError, match="larger than 4 bytes"):
            incoming.write(b"5")
    assert left_behind(tmp_path) == []


def test_what_is_not_kept_is_removed(place: Place, tmp_path: Path) -> None:
    """A file whose sender went away leaves nothing."""
    with place.storage.receive(10) as incoming:
        incoming.write(b"1234")
    assert left_behind(tmp_path) == []
    assert not place.found()


def test_a_crash_leaves_no_half_files(tmp_path: Path) -> None:
    """What a process that was killed left on its way in is gone at the next start."""
    dying = (
        "import os, pathlib, rotoscope.storage as s\n"
        f"opened = s.Storage(pathlib.Path({str(tmp_path)!r})).receive(9)\n"
        "incoming = opened.__enter__()\n"
        "incoming.write(b'12'); incoming.whole(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", dying], check=False)
    assert [path.read_bytes() for path in left_behind(tmp_path)] == [b"12"]
    Storage(tmp_path)
    assert left_behind(tmp_path) == []


def test_two_servers_share_a_folder(tmp_path: Path) -> None:
    """One that starts leaves alone what another is receiving."""
    first = Storage(tmp_path)
    with first.receive(10) as incoming:
        incoming.write(b"1234")
        second = Storage(tmp_path)
        key = first.keep_output(incoming, "job", 1, "out.mp4")
    assert content(second, second.output(key)) == b"1234"


def test_a_full_disk_is_told(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller may come back; nothing of the file stays."""
    with storage.receive(1000) as incoming:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, incoming._file.fileno())
        os.close(full)
        incoming.write(b"1234")
        with pytest.raises(UnavailableError, match="try again later"):
            storage.keep_output(incoming, "job", 1, "out.mp4")


def test_an_upload_keeps_its_facts(storage: Storage) -> None:
    """Owner, name, size, hash and end are read back with the file."""
    upload = keep_upload(storage, b"abc")

    assert storage.upload(upload.id) == upload
    assert (upload.owner, upload.name, upload.size) == ("me", "a.mp4", 3)
    assert upload.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert upload_id(upload.uri) == upload.id
    assert content(storage, storage.upload_file(upload.id)) == b"abc"


def test_unknown_uploads_are_none(storage: Storage) -> None:
    """An id that was never given, or is none, finds nothing."""
    for odd in ("", "0" * 32, "../keys", "0" * 32 + ".json"):
        assert storage.upload(odd) is None
        assert storage.upload_file(odd) is None
        storage.hold_upload("../keys", "job")
        storage.delete_upload(odd)
    assert upload_id("https://example.org") is None


def test_an_upload_goes_with_all_that_is_about_it(place: Place) -> None:
    """File, facts and the jobs that name it; other uploads stay."""
    storage = place.storage
    gone, stays = keep_upload(storage, b"a"), keep_upload(storage, b"b")
    storage.hold_upload(gone.id, "job-1")
    storage.hold_upload(stays.id, "job-2")

    assert [job for job, _ in storage.holders(gone.id)] == ["job-1"]
    storage.delete_upload(gone.id)

    assert storage.upload(gone.id) is None
    assert not list(storage.holders(gone.id))
    assert not any(gone.id in key for key in place.found())
    assert storage.upload(stays.id) == stays
    assert [job for job, _ in storage.holders(stays.id)] == ["job-2"]


def test_only_old_uploads_are_listed(storage: Storage) -> None:
    """Those made before a moment; what jobs noted beside them is none."""
    upload = keep_upload(storage, b"a")
    storage.hold_upload(upload.id, "job-1")
    assert list(storage.uploads(older_than=LATER)) == [upload]
    assert not list(storage.uploads(older_than=upload.expires_at - 2 * DAY))


def test_only_the_kept_outputs_of_a_job_stay(place: Place) -> None:
    """Files of given-up attempts go when the job ends; other jobs' files stay."""
    storage = place.storage
    old, new, second, other = (
        keep_output(storage, b"a"),
        keep_output(storage, b"b", attempt=2),
        keep_output(storage, b"c", attempt=2),
        keep_output(storage, b"d", job_id="job2"),
    )
    storage.drop_outputs("job", keep=[new, second])
    left = [storage.output(key) is not None for key in (old, new, second, other)]
    assert left == [False, True, True, True]

    storage.drop_outputs("job")
    storage.drop_outputs("job")
    storage.drop_outputs("../outputs/job2")
    assert {key for key in place.found() if "." in key} == {other}
    assert "outputs/job" not in place.found(), "an empty folder stays behind"


def test_jobs_with_files_are_found(storage: Storage) -> None:
    """Each once, and only those that have no young file."""
    for job_id in ("a", "b", "a"):
        keep_output(storage, b"x", job_id=job_id)
    assert sorted(storage.jobs(older_than=LATER)) == ["a", "b"]
    assert not list(storage.jobs(older_than=LATER - 2 * DAY))


def test_a_folder_that_takes_nothing_is_told(storage: Storage, tmp_path: Path) -> None:
    """The check writes: it fails when nothing could be kept."""
    storage.check()
    (tmp_path / "incoming").rename(tmp_path / "away")
    with pytest.raises(UnavailableError) as told:
        storage.check()
    assert isinstance(told.value.__cause__, FileNotFoundError)


def test_a_copy_is_made_where_there_is_no_file(storage: Storage, tmp_path: Path) -> None:
    """A file that is not on this machine is brought; one that is, is not copied."""
    file = storage.output(keep_output(storage, b"video"))
    assert file is not None
    path = storage.on_disk(file, tmp_path)
    assert path.read_bytes() == b"video"
    assert path.parent == (file.path.parent if file.path else tmp_path)


KEYS = ("outputs/a/1/x.mp4", "outputs/a/2/x.mp4", "outputs/ab/1/y", "uploads/1", "uploads/1.uses/a")
PREFIXES = (
    "outputs/",
    "outputs/a/",
    "outputs/a/1/",
    "outputs/none/",
    "uploads/",
    "uploads/1.uses/",
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from(KEYS), st.binary(max_size=12)),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=40)
def test_a_folder_and_a_bucket_are_told_apart_by_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, str, bytes]],
) -> None:
    """After any steps both hold what was put and not deleted, and list it alike."""
    folder = tmp_path_factory.mktemp("both")
    both = [FolderBucket(folder), ObjectBucket(MemoryStore())]
    expected: dict[str, bytes] = {}
    for verb, key, written in steps:
        for bucket in both:
            if verb == "put":
                (folder / "file").write_bytes(written)
                bucket.put(key, folder / "file", "video/mp4")
            else:
                bucket.delete([key, "uploads/never"])
        expected = expected | {key: written} if verb == "put" else without(expected, key)
    for bucket in both:
        assert {key: bytes_of(bucket, key) for key in KEYS if bucket.find(key)} == expected
        for prefix in PREFIXES:
            below = {key: len(expected[key]) for key in expected if key.startswith(prefix)}
            assert {found.key: found.size for found in bucket.list(prefix)} == below


def without(expected: dict[str, bytes], gone: str) -> dict[str, bytes]:
    return {key: value for key, value in expected.items() if key != gone}


def bytes_of(bucket: Bucket, key: str) -> bytes:
    found = bucket.find(key)
    assert found is not None
    return b"".join(bucket.read(key, 0, found.size))


@pytest.mark.parametrize("url", ["", "s3:/x", "s3://", "http://a.b/c", "file:///x", "s3://a:b@c"])
def test_a_storage_url_that_is_none_is_told(url: str) -> None:
    """With the forms that would do."""
    with pytest.raises(OperatorError, match=r"storage_url: .* s3://BUCKET/PREFIX"):
        open_bucket(url)


def test_what_a_cloud_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that no variable names."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(OperatorError, match=r"storage_url: .*[Aa]ccount"):
        open_bucket("az://clips/rotoscope")


def test_a_folder_has_no_presigned_urls(tmp_path: Path) -> None:
    """Two settings that cannot go together are refused at start."""
    with pytest.raises(OperatorError, match=r"storage_urls .* storage_url"):
        open_storage(Settings(data_dir=tmp_path, storage_urls="presigned"))


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """A file where the folder should be ends the start with a sentence."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(OperatorError, match=r"Files cannot be kept in .*/data"):
        open_storage(Settings(data_dir=tmp_path / "data"))


def test_a_folders_files_are_for_one_user(tmp_path: Path) -> None:
    """Results and uploads, also where others may look into the folder around them."""
    tmp_path.chmod(0o755)
    storage = Storage(tmp_path)
    keep_output(storage, b"a")
    keep_upload(storage, b"a")
    for name in ("outputs", "uploads", "incoming"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_a_store_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At start by a sentence of the operator's; later the caller may come back."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rotoscope.storage.objects._RETRY", {"max_retries": 0})
    with pytest.raises(OperatorError, match=r"s3://clips: .*127\.0\.0\.1:9"):
        open_storage(Settings(data_dir=tmp_path, storage_url="s3://clips"))
    with pytest.raises(UnavailableError, match="try again later"):
        Storage(tmp_path, open_bucket("s3://clips")).output(f"outputs/job/1-{'0' * 32}/out.mp4")

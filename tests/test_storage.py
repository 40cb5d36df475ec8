"""Files are whole or absent, and no path of a client's leads anywhere."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rotoscope.errors import BodyTooLargeError
from rotoscope.storage import Storage, Upload, upload_id

DAY = timedelta(days=1)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def keep_output(storage: Storage, content: bytes, job_id: str = "job", attempt: int = 1) -> str:
    with storage.receive(1000) as incoming:
        incoming.write(content)
        return storage.keep_output(incoming, job_id, attempt, "out.mp4")


def keep_upload(storage: Storage, content: bytes, lifetime: timedelta = DAY) -> Upload:
    with storage.receive(1000) as incoming:
        incoming.write(content)
        return storage.keep_upload(incoming, owner="me", name="a.mp4", lifetime=lifetime)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_output_is_found_by_its_key(storage: Storage) -> None:
    """What was kept is read back, under a key of the job and the attempt."""
    key = keep_output(storage, b"video", attempt=3)
    path = storage.output(key)

    assert path is not None
    assert path.read_bytes() == b"video"
    assert key.startswith("outputs/job/3-")
    assert key.endswith("/out.mp4")


def test_keys_are_not_guessed(storage: Storage) -> None:
    """The same job, attempt and name give another key each time."""
    assert keep_output(storage, b"a") != keep_output(storage, b"b")


@pytest.mark.parametrize("name", ["", ".hidden", "../out.mp4", "a/b", "a\0b", "a b", "x" * 101])
def test_an_output_has_a_plain_name(storage: Storage, tmp_path: Path, name: str) -> None:
    """A name that could be a path is refused, and nothing is left behind."""
    with storage.receive(10) as incoming, pytest.raises(ValueError, match="plain file name"):
        storage.keep_output(incoming, "job", 1, name)
    assert files(tmp_path) == []


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
    assert files(tmp_path) == []


def test_what_is_not_kept_is_removed(storage: Storage, tmp_path: Path) -> None:
    """A file whose sender went away leaves nothing."""
    with storage.receive(10) as incoming:
        incoming.write(b"1234")
    assert files(tmp_path) == []


def test_a_crash_leaves_no_half_files(tmp_path: Path) -> None:
    """Files that were on their way in when the process died are gone at the next start."""
    Storage(tmp_path)
    (tmp_path / "incoming" / "half").write_bytes(b"12")
    Storage(tmp_path)
    assert files(tmp_path) == []


def test_an_upload_keeps_its_facts(storage: Storage) -> None:
    """Owner, name, size, hash and end are read back with the file."""
    upload = keep_upload(storage, b"abc")

    assert storage.upload(upload.id) == upload
    assert (upload.owner, upload.name, upload.size) == ("me", "a.mp4", 3)
    assert upload.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert upload_id(upload.uri) == upload.id
    path = storage.upload_file(upload.id)
    assert path is not None
    assert path.read_bytes() == b"abc"


def test_unknown_uploads_are_none(storage: Storage) -> None:
    """An id that was never given, or is none, finds nothing."""
    for odd in ("", "0" * 32, "../keys", "0" * 32 + ".json"):
        assert storage.upload(odd) is None
        assert storage.upload_file(odd) is None
    assert upload_id("https://example.org") is None


def test_expired_uploads_are_dropped(storage: Storage, tmp_path: Path) -> None:
    """An upload goes with its facts once its time is over, and others stay."""
    short = keep_upload(storage, b"a", timedelta(hours=1))
    long = keep_upload(storage, b"b", timedelta(hours=3))

    dropped = storage.drop_expired(datetime.now(UTC) + timedelta(hours=2))

    assert dropped == [short.id]
    assert storage.upload(short.id) is None
    assert storage.upload(long.id) == long
    assert len(files(tmp_path)) == 2


def test_only_the_kept_outputs_of_a_job_stay(storage: Storage) -> None:
    """Files of given-up attempts go when the job ends; other jobs' files stay."""
    old, new, second, other = (
        keep_output(storage, b"a"),
        keep_output(storage, b"b", attempt=2),
        keep_output(storage, b"c", attempt=2),
        keep_output(storage, b"d", job_id="other"),
    )
    storage.drop_outputs("job", keep=[new, second])
    left = [storage.output(key) is not None for key in (old, new, second, other)]
    assert left == [False, True, True, True]


def test_a_folder_that_takes_nothing_is_told(storage: Storage, tmp_path: Path) -> None:
    """The check writes: it fails when nothing could be kept."""
    storage.check()
    (tmp_path / "incoming").rmdir()
    with pytest.raises(OSError, match="No such file"):
        storage.check()

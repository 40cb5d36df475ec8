"""Results under unguessable keys, uploads with their facts, wherever files are kept.

No name or path of a client's ends up in a key, but for a result's checked file name.

    outputs/{job_id}/{attempt}-{random}/{name}    a result; its key is never used again
    uploads/{upload_id}                           an upload
    uploads/{upload_id}.json                      its facts
    uploads/{upload_id}.uses/{job_id}             empty: this job names the upload
"""

import hashlib
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from rotoscope.errors import OperatorError, UnavailableError
from rotoscope.schema.input import UPLOAD_SCHEME
from rotoscope.settings import Settings
from rotoscope.storage.bucket import Bucket, Stored, reason_of, unavailable
from rotoscope.storage.folder import FolderBucket
from rotoscope.storage.incoming import Incoming, Spool

CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".gif": "image/gif",
}
BYTES = "application/octet-stream"

_JOB_ID = r"[A-Za-z0-9_-]{1,128}"
_OUTPUT_KEY = re.compile(
    rf"outputs/{_JOB_ID}/[0-9]{{1,9}}-[0-9a-f]{{32}}/[A-Za-z0-9_-][A-Za-z0-9._-]{{0,99}}"
)
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class Upload(BaseModel):
    """The facts of an uploaded file, kept beside it."""

    model_config = ConfigDict(frozen=True)

    id: str
    owner: str
    name: str
    size: int
    sha256: str
    expires_at: datetime

    @property
    def uri(self) -> str:
        return UPLOAD_SCHEME + self.id

    def expired(self, now: datetime) -> bool:
        return now >= self.expires_at


class Storage:
    """The files of a server.

    Args:
        folder: Where files wait on their way in; they are kept there too, without a bucket.
        bucket: Where files are kept.
        presigned_s: How long a result's URL at the object store works; None: there are none.
    """

    def __init__(
        self, folder: Path, bucket: Bucket | None = None, *, presigned_s: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._spool = Spool(folder / "incoming")
        self._bucket = bucket or FolderBucket(folder)
        self._presigned_s = presigned_s

    def receive(self, limit: int) -> AbstractContextManager[Incoming]:
        """Open a file for at most `limit` bytes; it is removed unless one of the verbs keeps it."""
        return self._spool.receive(limit)

    def keep_output(self, incoming: Incoming, job_id: str, attempt: int, name: str) -> str:
        """Put a result in its place and answer its key.

        Raises:
            ValueError: The name is not a plain file name.
            UnavailableError: The storage does not take it.
        """
        key = f"outputs/{job_id}/{attempt}-{secrets.token_hex(16)}/{name}"
        if not _OUTPUT_KEY.fullmatch(key):
            raise ValueError(f"not a plain file name: {name!r}")
        self._bucket.put(key, incoming.whole(), content_type_of(key))
        return key

    def output(self, key: str) -> Stored | None:
        """The file of a key, if it exists."""
        return self._bucket.find(key) if _OUTPUT_KEY.fullmatch(key) else None

    def read(self, file: Stored, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces."""
        return self._bucket.read(file.key, start, file.size if stop is None else stop)

    def on_disk(self, file: Stored, folder: Path) -> Path:
        """The file on this machine: where it lies, or a copy in `folder`."""
        if file.path is not None:
            return file.path
        copy = folder / file.key.rpartition("/")[2]
        with copy.open("wb") as into:
            into.writelines(self.read(file))
        return copy

    def link(self, file: Stored, method: Literal["GET", "HEAD"]) -> str | None:
        """Where a client may fetch the file itself, if it is to."""
        if self._presigned_s is None:
            return None
        try:
            return self._bucket.sign(file.key, method, self._presigned_s)
        except OperatorError as error:
            raise unavailable(error) from error

    def keep_upload(
        self, incoming: Incoming, *, owner: str, name: str, lifetime: timedelta
    ) -> Upload:
        """Put an upload in its place."""
        return self._fill(_new_upload(owner, name, lifetime), incoming)

    def promise_upload(self, *, owner: str, name: str, lifetime: timedelta) -> Upload:
        """Make the URI of an upload whose file comes later, by `keep_promised`."""
        upload = _new_upload(owner, name, lifetime)
        self._write(_facts_key(upload.id), upload.model_dump_json().encode(), "application/json")
        return upload

    def keep_promised(self, upload_id: str, incoming: Incoming) -> Upload | None:
        """Put a promised upload in its place; None if it is none, is there already or expired."""
        promised = self.upload(upload_id)
        if promised is None or promised.expired(datetime.now(UTC)) or self.upload_file(upload_id):
            return None
        return self._fill(promised, incoming)

    def _fill(self, promised: Upload, incoming: Incoming) -> Upload:
        """Facts go first, so that no file is without an end."""
        facts = {"size": incoming.size, "sha256": incoming.sha256}
        upload = promised.model_copy(update=facts)
        self._write(_facts_key(upload.id), upload.model_dump_json().encode(), "application/json")
        self._bucket.put(_upload_key(upload.id), incoming.whole(), BYTES)
        return upload

    def upload(self, upload_id: str) -> Upload | None:
        """The facts of an upload, also of an expired one that was not dropped yet."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return None
        try:
            facts = self._bucket.find(_facts_key(upload_id))
            return Upload.model_validate_json(b"".join(self.read(facts))) if facts else None
        except FileNotFoundError:
            return None

    def upload_file(self, upload_id: str) -> Stored | None:
        """The file of an upload, if it exists."""
        known = _UPLOAD_ID.fullmatch(upload_id)
        return self._bucket.find(_upload_key(upload_id)) if known else None

    def hold_upload(self, upload_id: str, job_id: str) -> None:
        """Note that a job names the upload, before the job is queued."""
        if _UPLOAD_ID.fullmatch(upload_id):
            self._write(_uses_prefix(upload_id) + job_id, b"", BYTES)

    def holders(self, upload_id: str) -> Iterator[tuple[str, datetime]]:
        """The ids of the jobs that were noted, and when each was."""
        for use in self._bucket.list(_uses_prefix(upload_id)):
            yield use.key.rpartition("/")[2], use.modified

    def uploads(self, *, older_than: datetime) -> Iterator[Upload]:
        """The uploads that were made before a moment."""
        for found in self._bucket.list("uploads/"):
            upload_id, _, kind = found.key.removeprefix("uploads/").partition(".")
            if kind != "json" or found.modified >= older_than:
                continue
            if upload := self.upload(upload_id):
                yield upload

    def delete_upload(self, upload_id: str) -> None:
        """Remove an upload, its facts last: while they are there, a broken delete is repeated."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return
        uses = [use.key for use in self._bucket.list(_uses_prefix(upload_id))]
        self._bucket.delete([_upload_key(upload_id), *uses, _facts_key(upload_id)])

    def drop_outputs(self, job_id: str, *, keep: Collection[str] = ()) -> None:
        """Delete what the attempts of a job left, but for the files of some keys."""
        if not re.fullmatch(_JOB_ID, job_id):
            return
        found = self._bucket.list(f"outputs/{job_id}/")
        self._bucket.delete([file.key for file in found if file.key not in keep])

    def jobs(self, *, older_than: datetime) -> Iterator[str]:
        """The ids under which there are files, none of them younger than a moment."""
        by_job = groupby(self._bucket.list("outputs/"), key=lambda file: file.key.split("/")[1])
        for job_id, files in by_job:
            if all(file.modified < older_than for file in files):
                yield job_id

    def check(self) -> None:
        """Raise UnavailableError if nothing can be kept."""
        with self.receive(0):
            pass
        self._bucket.check()

    def try_out(self) -> None:
        """Write a file, read it and delete it.

        Raises:
            UnavailableError: One of these cannot be done.
            OperatorError: What was read is not what was written.
        """
        key = f"uploads/check-{secrets.token_hex(16)}"
        self._write(key, b"check", BYTES)
        found = self._bucket.find(key)
        if found is None or b"".join(self.read(found)) != b"check":
            raise OperatorError("The storage does not give back what it was given.")
        self._bucket.delete([key])

    def _write(self, key: str, content: bytes, content_type: str) -> None:
        with self.receive(len(content)) as incoming:
            incoming.write(content)
            self._bucket.put(key, incoming.whole(), content_type)


def open_storage(settings: Settings) -> Storage:
    """What the settings name, tried once.

    Raises:
        OperatorError: It is not there, or does not do what the settings ask of it.
    """
    bucket = _bucket(settings)
    presigned_s = settings.presigned_s if settings.storage_urls == "presigned" else None
    if presigned_s is not None:
        bucket.sign("check/none", "GET", presigned_s)
    try:
        storage = Storage(settings.data_dir, bucket, presigned_s=presigned_s)
        storage.check()
        storage.try_out()
    except (OSError, UnavailableError) as error:
        place = settings.storage_url or settings.data_dir
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise OperatorError(f"Files cannot be kept in {place}: {reason_of(cause)}") from error
    return storage


def _new_upload(owner: str, name: str, lifetime: timedelta) -> Upload:
    return Upload(
        id=secrets.token_hex(16),
        owner=owner,
        name=name,
        size=0,
        sha256=hashlib.sha256().hexdigest(),
        expires_at=datetime.now(UTC) + lifetime,
    )


def content_type_of(key: str) -> str:
    """The media type of a result, by its name."""
    return CONTENT_TYPES.get(Path(key).suffix.lower(), BYTES)


def upload_id(uri: str) -> str | None:
    """The id in an upload's URI, or None for another kind of URI."""
    return uri.removeprefix(UPLOAD_SCHEME) if uri.startswith(UPLOAD_SCHEME) else None


def _bucket(settings: Settings) -> Bucket:
    if settings.storage_url is None:
        return FolderBucket(settings.data_dir)
    # Takes 15 MB that a server with a folder does without.
    from rotoscope.storage.objects import open_bucket  # noqa: PLC0415

    return open_bucket(settings.storage_url)


def _upload_key(upload_id: str) -> str:
    return f"uploads/{upload_id}"


def _facts_key(upload_id: str) -> str:
    return f"uploads/{upload_id}.json"


def _uses_prefix(upload_id: str) -> str:
    return f"uploads/{upload_id}.uses/"

"""Files that outlive a request: results under unguessable keys, uploads with their facts.

A file is written beside its place, flushed to disk, and moved there: it is whole or absent. No
name or path of a client's ends up in a path here, but for a result's checked file name.

    {folder}/outputs/{job_id}/{attempt}-{random}/{name}
    {folder}/uploads/{upload_id} and {upload_id}.json
    {folder}/incoming/                 emptied at start
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from rotoscope.errors import BodyTooLargeError
from rotoscope.schema.input import UPLOAD_SCHEME

_OUTPUT_KEY = re.compile(
    r"outputs/[A-Za-z0-9_-]{1,128}/[0-9]{1,9}-[0-9a-f]{32}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"
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


class Incoming:
    """A file on its way in: counted, hashed, and moved to its place by `keep`; else removed."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises:
            BodyTooLargeError: They are more than the limit.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            raise BodyTooLargeError(
                f"The file is larger than {self._limit:,} bytes, the most here."
            )
        self._hash.update(chunk)
        self._file.write(chunk)

    def keep(self, place: Path) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        place.parent.mkdir(parents=True, exist_ok=True)
        self._path.rename(place)
        _sync_folder(place.parent)


class Storage:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.rmtree(folder / "incoming", ignore_errors=True)
        for name in ("incoming", "outputs", "uploads"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def receive(self, limit: int) -> Iterator[Incoming]:
        """Open a file for at most `limit` bytes; it is removed unless one of the verbs keeps it."""
        with Incoming(self._folder / "incoming" / secrets.token_hex(16), limit) as incoming:
            yield incoming

    def keep_output(self, incoming: Incoming, job_id: str, attempt: int, name: str) -> str:
        """Put a result in its place and answer its key.

        Raises:
            ValueError: The name is not a plain file name.
        """
        key = f"outputs/{job_id}/{attempt}-{secrets.token_hex(16)}/{name}"
        if not _OUTPUT_KEY.fullmatch(key):
            raise ValueError(f"not a plain file name: {name!r}")
        incoming.keep(self._folder / key)
        return key

    def output(self, key: str) -> Path | None:
        """The file of a key, if it exists."""
        path = self._folder / key
        return path if _OUTPUT_KEY.fullmatch(key) and path.is_file() else None

    def keep_upload(
        self, incoming: Incoming, *, owner: str, name: str, lifetime: timedelta
    ) -> Upload:
        """Put an upload in its place; its facts go first, so that no file is without an end."""
        upload = Upload(
            id=secrets.token_hex(16),
            owner=owner,
            name=name,
            size=incoming.size,
            sha256=incoming.sha256,
            expires_at=datetime.now(UTC) + lifetime,
        )
        facts = upload.model_dump_json().encode()
        with self.receive(len(facts)) as sidecar:
            sidecar.write(facts)
            sidecar.keep(self._facts_path(upload.id))
        incoming.keep(self._upload_path(upload.id))
        return upload

    def upload(self, upload_id: str) -> Upload | None:
        """The facts of an upload, also of an expired one that was not dropped yet."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            return None
        try:
            return Upload.model_validate_json(self._facts_path(upload_id).read_bytes())
        except FileNotFoundError:
            return None

    def upload_file(self, upload_id: str) -> Path | None:
        """The file of an upload, if it exists."""
        path = self._upload_path(upload_id)
        return path if _UPLOAD_ID.fullmatch(upload_id) and path.is_file() else None

    def drop_outputs(self, job_id: str, *, keep: Collection[str] = ()) -> None:
        """Delete what the attempts of a job left, but for the files of some keys."""
        kept = {(self._folder / key).parent for key in keep}
        for attempt in (self._folder / "outputs" / job_id).glob("*-*"):
            if attempt not in kept:
                shutil.rmtree(attempt, ignore_errors=True)

    def delete_upload(self, upload_id: str) -> None:
        if _UPLOAD_ID.fullmatch(upload_id):
            self._facts_path(upload_id).unlink(missing_ok=True)
            self._upload_path(upload_id).unlink(missing_ok=True)

    def drop_expired(self, now: datetime) -> list[str]:
        """Delete the uploads that expired, and say which."""
        known = (self.upload(path.stem) for path in (self._folder / "uploads").glob("*.json"))
        expired = [upload.id for upload in known if upload and upload.expired(now)]
        for upload_id in expired:
            self.delete_upload(upload_id)
        return expired

    def check(self) -> None:
        """Raise OSError if nothing can be written."""
        with self.receive(0):
            pass

    def _upload_path(self, upload_id: str) -> Path:
        return self._folder / "uploads" / upload_id

    def _facts_path(self, upload_id: str) -> Path:
        return self._folder / "uploads" / f"{upload_id}.json"


def upload_id(uri: str) -> str | None:
    """The id in an upload's URI, or None for another kind of URI."""
    return uri.removeprefix(UPLOAD_SCHEME) if uri.startswith(UPLOAD_SCHEME) else None


def _sync_folder(folder: Path) -> None:
    """Make a rename in this folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Files in a folder on this machine: the default.

A file is moved to its place from the same file system, and is on the disk before `put` returns.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from rotoscope.errors import OperatorError
from rotoscope.storage.bucket import Stored, unavailable

PIECE = 1024 * 1024
TRIES = 3


class FolderBucket:
    """Its files are for this user alone, whatever the folder around them is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, file: Path, content_type: str) -> None:
        place = self._folder / key
        try:
            _sync(file)
            (self._folder / key.partition("/")[0]).mkdir(mode=0o700, exist_ok=True)
            _move(file, place)
            _sync(place.parent)
        except OSError as error:
            raise unavailable(error) from error

    def find(self, key: str) -> Stored | None:
        try:
            return self._stored(self._folder / key)
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        with (self._folder / key).open("rb") as file:
            file.seek(start)
            while piece := file.read(min(PIECE, stop - file.tell())):
                yield piece

    def list(self, prefix: str) -> Iterator[Stored]:
        for folder, _, names in os.walk(self._folder / prefix):
            for name in names:
                # Another process may remove it in between.
                with suppress(FileNotFoundError):
                    yield self._stored(Path(folder, name))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._folder / key
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unavailable(error) from error
            self._prune(path.parent)

    def sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str:
        raise OperatorError(
            "storage_urls can be presigned only with a storage_url: a folder has no such URLs. "
            "Set storage_urls to proxied."
        )

    def check(self) -> None:
        # What matters here, writing, is tried where files come in.
        return

    def _stored(self, path: Path) -> Stored:
        facts = path.stat()
        return Stored(
            key=path.relative_to(self._folder).as_posix(),
            size=facts.st_size,
            modified=datetime.fromtimestamp(facts.st_mtime, UTC),
            path=path,
        )

    def _prune(self, folder: Path) -> None:
        """Remove the folders that became empty, but for those at the top."""
        while self._folder not in (folder.parent, folder):
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _move(file: Path, place: Path) -> None:
    for left in reversed(range(TRIES)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            file.rename(place)
        except FileNotFoundError:
            # A delete took the folder away as it became empty.
            if not left:
                raise
        else:
            return


def _sync(path: Path) -> None:
    """Make a file's bytes, or a rename in a folder, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Files on their way in: counted and hashed on this machine's disk before they are kept."""

import fcntl
import hashlib
import os
import secrets
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from rotoscope.errors import BodyTooLargeError
from rotoscope.storage.bucket import unavailable

LOCK = "lock"


class Incoming:
    """A file on its way in, removed at the end of its block unless it was taken away."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A full disk was told already, as the bytes came.
        try:
            self._file.close()
        except OSError:
            pass
        finally:
            self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises:
            BodyTooLargeError: They are more than the limit.
            UnavailableError: The disk does not take them.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            raise BodyTooLargeError(
                f"The file is larger than {self._limit:,} bytes, the most here."
            )
        self._hash.update(chunk)
        try:
            self._file.write(chunk)
        except OSError as error:
            raise unavailable(error) from error

    def whole(self) -> Path:
        """The file with everything that was written; UnavailableError if the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise unavailable(error) from error
        return self._path


class Spool:
    """A folder of this process's own below `folder`; those that dead processes left are removed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder):
            for left in folder.iterdir():
                if left.name != LOCK:
                    _remove_unless_held(left)
            self.folder = folder / secrets.token_hex(8)
            self.folder.mkdir(mode=0o700)
            handle = _take(self.folder)
        self._end = weakref.finalize(self, _give_up, self.folder, handle)

    @contextmanager
    def receive(self, limit: int) -> Iterator[Incoming]:
        """Open a file for at most `limit` bytes.

        Raises:
            UnavailableError: The disk takes no more files.
        """
        try:
            incoming = Incoming(self.folder / secrets.token_hex(16), limit)
        except OSError as error:
            raise unavailable(error) from error
        with incoming:
            yield incoming


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time looks for what is left."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _take(folder: Path) -> int:
    """A handle that holds the folder until it is closed, or BlockingIOError if another does."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    return handle


def _remove_unless_held(left: Path) -> None:
    if not left.is_dir():
        left.unlink(missing_ok=True)
        return
    try:
        handle = _take(left)
    except BlockingIOError:
        return
    _give_up(left, handle)


def _give_up(folder: Path, handle: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)

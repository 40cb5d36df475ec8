"""Files in an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob.

Large files go up in parts, a few at a time, so that memory stays flat whatever their size. A
process that dies in the middle leaves parts that no listing shows: the bucket's own rule for
incomplete multipart uploads removes them (docs/operations.md).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store, from_url

from rotoscope.errors import OperatorError
from rotoscope.storage.bucket import Stored, reason_of, unavailable

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

PART = 5 * 1024 * 1024
PARTS_AT_ONCE = 4
PIECE = 4 * 1024 * 1024
LISTED_AT_ONCE = 1000

_URL = re.compile(r"(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
# An endpoint's scheme says whether it is encrypted: that is the operator's choice.
_CLIENT: "ClientConfig" = {"allow_http": True, "connect_timeout": "5s", "timeout": "60s"}
# Short enough for a caller that waits, who may send the request again.
_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}


def open_bucket(url: str) -> "ObjectBucket":
    """The bucket and prefix that the setting storage_url names.

    Raises:
        OperatorError: The URL is none of those, or the environment lacks what the cloud needs.
    """
    if not _URL.fullmatch(url):
        raise OperatorError(
            f"storage_url: {url!r} is no object store's URL. Give s3://BUCKET/PREFIX, "
            "gs://BUCKET/PREFIX or az://CONTAINER/PREFIX."
        )
    try:
        return ObjectBucket(from_url(url, client_options=_CLIENT, retry_config=_RETRY))
    except (BaseError, ValueError) as error:
        raise OperatorError(f"storage_url: {reason_of(error)}") from error


class ObjectBucket:
    def __init__(self, store: "ObjectStore") -> None:
        self._store = store

    def put(self, key: str, file: Path, content_type: str) -> None:
        with _calling():
            obstore.put(
                self._store,
                key,
                file,
                attributes={"Content-Type": content_type},
                chunk_size=PART,
                max_concurrency=PARTS_AT_ONCE,
            )

    def find(self, key: str) -> Stored | None:
        try:
            with _calling():
                return _stored(obstore.head(self._store, key))
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        # A request for each piece: a slow reader holds no connection, and a broken one is repeated.
        for first in range(start, stop, PIECE):
            with _calling():
                last = min(first + PIECE, stop)
                piece = obstore.get_range(self._store, key, start=first, end=last)
            yield bytes(piece)

    def list(self, prefix: str) -> Iterator[Stored]:
        with _calling():
            for found in obstore.list(self._store, prefix, chunk_size=LISTED_AT_ONCE):
                yield from map(_stored, found)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            try:
                with _calling():
                    obstore.delete(self._store, key)
            except FileNotFoundError:
                continue

    def sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str:
        if not isinstance(self._store, (S3Store, GCSStore, AzureStore)):
            raise OperatorError("This storage cannot make presigned URLs: set storage_urls.")
        try:
            return obstore.sign(self._store, method, key, timedelta(seconds=seconds))
        except (BaseError, ValueError) as error:
            raise OperatorError(
                "The credentials of the storage cannot make presigned URLs: "
                f"{reason_of(error)}. Set storage_urls to proxied, or other credentials."
            ) from error

    def check(self) -> None:
        with _calling():
            next(iter(obstore.list(self._store, "check/", chunk_size=1)), None)


def _stored(found: "ObjectMeta") -> Stored:
    return Stored(key=found["path"], size=found["size"], modified=found["last_modified"])


@contextmanager
def _calling() -> Iterator[None]:
    """Turn what an object store refuses or does not answer into UnavailableError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise unavailable(error) from error

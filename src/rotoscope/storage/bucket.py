"""What a place for files can do: a folder, or a bucket of an object store."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from rotoscope import telemetry
from rotoscope.errors import UnavailableError

log = telemetry.logger()

RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    path: Path | None = None
    """Where it lies, if that is on this machine."""


class Bucket(Protocol):
    """Files under keys. Each is whole or absent, and found again once `put` has returned.

    Every method raises UnavailableError where the place cannot be used for now.
    """

    def put(self, key: str, file: Path, content_type: str) -> None:
        """Take a file over, or copy it; what was under the key before is replaced."""

    def find(self, key: str) -> Stored | None: ...

    def read(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces; FileNotFoundError if there is none."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """The files below a prefix that ends in a slash; those of one folder one after another."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files; those that are gone already count as removed."""

    def sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str:
        """A URL that works for so long and for this method alone.

        Raises:
            OperatorError: This place cannot make such URLs.
        """

    def check(self) -> None:
        """Raise UnavailableError if files can be neither read nor written."""


def unavailable(error: Exception) -> UnavailableError:
    """What a caller is told of a failure that the operator's log explains."""
    log.error("storage_unavailable", reason=reason_of(error))
    return UnavailableError(
        "The server cannot use its file storage right now; try again later.",
        retry_after_s=RETRY_AFTER_S,
    )


def reason_of(error: Exception) -> str:
    """One line of an error, without the long form that obstore adds."""
    return " ".join(str(error).partition("\n\nDebug source")[0].split())

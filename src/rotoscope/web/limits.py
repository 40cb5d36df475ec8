"""How much may be submitted: the queue's cap for all, and what each key's owner may ask.

The minute is counted from the rows, so it holds over all servers and restarts. Submits of one owner
pass one at a time on each server; on several at once, a limit can be overshot by a submit for each.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from zlib import crc32

from rotoscope.errors import TooManyRequestsError, UnavailableError
from rotoscope.keys import Limits
from rotoscope.web.parts import Parts

RETRY_AFTER_S = 30
"""When to look again for a place in a queue: nobody knows how long its jobs take."""
MINUTE_S = 60

_TURNS = tuple(Lock() for _ in range(64))


@contextmanager
def room_for(owner: str, limits: Limits, parts: Parts) -> Iterator[None]:
    """Inside, there is room for one more job of this owner.

    Raises:
        TooManyRequestsError: The owner's jobs wait, or came, in the number it may have.
        UnavailableError: The queue is full, or the server is ending.
    """
    check_queue(parts)
    if limits.max_queued is None and limits.per_minute is None:
        yield
        return
    with _TURNS[crc32(owner.encode()) % len(_TURNS)]:
        _check_owner(owner, limits, parts)
        yield


def check_queue(parts: Parts) -> None:
    """Raise UnavailableError where no job at all can be queued now."""
    if parts.bell.draining:
        raise UnavailableError(
            "The server is ending; send the request again in a moment.",
            retry_after_s=RETRY_AFTER_S,
        )
    most = parts.settings.max_queue
    if parts.store.waiting(most=most) >= most:
        raise UnavailableError(
            f"The queue is full: {most:,} jobs wait. Try again later.",
            retry_after_s=RETRY_AFTER_S,
        )


def _check_owner(owner: str, limits: Limits, parts: Parts) -> None:
    most = limits.per_minute
    if most is not None and parts.store.submitted_since(owner, MINUTE_S) >= most:
        seconds = _until_free(owner, most, parts)
        raise TooManyRequestsError(
            f"This key may submit {most:,} requests a minute; send the next in {seconds} s.",
            retry_after_s=seconds,
        )
    if limits.max_queued is not None and parts.store.queued_of(owner) >= limits.max_queued:
        raise TooManyRequestsError(
            f"This key may have {limits.max_queued:,} queued requests, and has them; wait until "
            "one starts, or cancel one.",
            retry_after_s=RETRY_AFTER_S,
        )


def _until_free(owner: str, most: int, parts: Parts) -> int:
    """Whole seconds until one of the `most` newest submits is more than a minute old."""

    def reached(seconds: int) -> bool:
        return parts.store.submitted_since(owner, seconds) >= most

    # The oldest that counts came within this many seconds, and not within one less.
    age = bisect_left(range(MINUTE_S), x=True, key=reached)
    return MINUTE_S + 1 - age

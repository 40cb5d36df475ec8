"""What workers really did, line by line in a file that all of them append to."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker began an attempt at a job, or came back from it."""

    what: str
    """`start` or `end`."""
    request_id: str
    attempt: int
    worker: str
    at: float
    """Seconds of a clock that all processes of the machine share and nobody moves."""


class Witness:
    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, request_id: str, attempt: int, worker: str) -> None:
        seen = Seen(what, request_id, attempt, worker, time.clock_gettime(time.CLOCK_MONOTONIC))
        # One write of one line: lines of several processes do not mix.
        os.write(self._file, json.dumps(asdict(seen)).encode() + b"\n")


def read_all(file: Path) -> list[Seen]:
    if not file.exists():
        return []
    return [Seen(**json.loads(line)) for line in file.read_text().splitlines()]

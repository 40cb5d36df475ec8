"""A process's wall clock that the test moves: an offset in a file, which both have mapped."""

import mmap
import struct
import time
from pathlib import Path

FORMAT = "d"


class Offset:
    """Seconds that are added to a clock; a file that several processes map."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(struct.pack(FORMAT, 0.0))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), struct.calcsize(FORMAT))

    def get(self) -> float:
        return float(struct.unpack_from(FORMAT, self._map)[0])

    def set(self, seconds: float) -> None:
        struct.pack_into(FORMAT, self._map, 0, seconds)


def shift_clock(file: Path) -> None:
    """Let this process's time.time() follow the offset in `file`, from now on."""
    offset, real = Offset(file), time.time
    time.time = lambda: real() + offset.get()

"""The child process that opens untrusted video: started, waited for, its complaints explained.

The child (decode_child.py) gets the open file as its standard input and answers on a pipe; its
memory, time and files are limited and its network is cut off where the system allows. First bytes
are looked at here, so that playlists and pages are refused by name before any demuxer sees them.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any

from rotoscope.errors import (
    JobError,
    UnsupportedVideoError,
    VideoTooLargeError,
    VideoTooShortError,
)

CHILD = Path(__file__).with_name("decode_child.py")
# No threads for numpy: the network can be cut off only from a process with a single one, and their
# memory, by the number of cores, would count towards the limit.
CHILD_ENV = {"OPENBLAS_NUM_THREADS": "1"}
DEADLINES_S = {"probe": 60.0, "decode": 300.0}
COMPLAINT_BYTES = 4096
SNIFFED_BYTES = 512
# What Linux grants anyone by default. At the usual 64 KiB a frame takes forty turns of two
# processes, and reading takes nearly twice as long.
PIPE_BYTES = 2**20

_NOT_VIDEO: dict[bytes, str] = {
    b"#EXTM3U": "it is a playlist",
    b"ffconcat": "it is a playlist",
    b"v=0": "it is a session description",
    b"<": "it is a web page or XML",
    b"%PDF": "it is a PDF document",
    b"PK\x03\x04": "it is a zip archive",
    b"ID3": "it is sound without pictures",
    b"\x89PNG": "it is a still image",
    b"\xff\xd8\xff": "it is a still image",
    b"BM": "it is a still image",
    b"II*\x00": "it is a still image",
    b"MM\x00*": "it is a still image",
}
_ERRORS: dict[str, type[JobError]] = {
    "unsupported": UnsupportedVideoError,
    "too_large": VideoTooLargeError,
    "too_short": VideoTooShortError,
}
_HINT = "MP4, MOV, WebM, MKV, AVI, GIF and animated WebP work"


def ask(path: Path, field: str, order: dict[str, Any], answer: memoryview) -> int:
    """Let a child do `order`; its answer fills the start of `answer`, whose length comes back."""
    _sniff(path, field)
    deadline_s = DEADLINES_S[order["do"]]
    with (
        path.open("rb") as file,
        _start(file, order) as child,
        _deadline(child, deadline_s) as late,
    ):
        count = _fill(answer, child.stdout)
        complaint = child.stderr.read(COMPLAINT_BYTES) if child.stderr else b""
        child.wait()
    if late.is_set():
        raise _refused(field, f"reading it took more than {deadline_s:g} seconds")
    if child.returncode:
        raise _explain(field, complaint)
    return count


def _start(file: IO[bytes], order: dict[str, Any]) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and file; the order is no shell text
        [sys.executable, "-I", str(CHILD), json.dumps(order)],
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=CHILD_ENV,
    )
    # Without it, where a system knows or grants no such thing, the answer is the same.
    with suppress(AttributeError, OSError):
        fcntl.fcntl(child.stdout or -1, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return child


@contextmanager
def _deadline(child: subprocess.Popen[bytes], seconds: float) -> Iterator[Event]:
    """End the child in time, and at once where its answer is no longer waited for.

    Yields:
        An event that says whether it was too late.
    """
    late = Event()

    def end() -> None:
        late.set()
        child.kill()

    timer = Timer(seconds, end)
    timer.start()
    try:
        yield late
    except BaseException:
        child.kill()
        raise
    finally:
        timer.cancel()


def _fill(answer: memoryview, pipe: Any) -> int:
    count = 0
    while got := pipe.readinto(answer[count:]):
        count += got
    return count


def _hang_up(child: subprocess.Popen[bytes]) -> None:
    """Wait for the child's end; what it may still want to say finds nobody listening."""
    for pipe in (child.stdout, child.stderr):
        if pipe:
            pipe.close()
    child.wait()


def _sniff(path: Path, field: str) -> None:
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
    if not head:
        raise _refused(field, "the file is empty")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in _NOT_VIDEO.items():
        if start.startswith(magic):
            raise _refused(field, what)
    if _is_text(head):
        raise _refused(field, "it is text")


def _is_text(head: bytes) -> bool:
    # A character may be cut at the end of what was read.
    text = head.decode(errors="ignore")
    return len(text) > len(head) // 4 and all(c.isprintable() or c.isspace() for c in text)


def _explain(field: str, complaint: bytes) -> JobError:
    """What the child said; one that was ended by its limits, or crashed, said nothing."""
    try:
        said = json.loads(complaint)
        return _refused(field, said["message"], _ERRORS[said["error"]])
    except (ValueError, KeyError, TypeError):
        return _refused(field, "reading it failed or took more than a video may take")


def _refused(field: str, reason: str, error: type[JobError] = UnsupportedVideoError) -> JobError:
    return error(f"The source video cannot be used: {reason}; {_HINT}.", field=field)

"""What the child that opens untrusted video can no longer do."""

import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rotoscope.media.sandbox import CHILD, CHILD_ENV

FILTERED = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="system calls are filtered on x86-64 alone"
)


def in_confinement(script: str) -> str:
    """What `script` prints, line by line, in a child that has confined itself."""
    confined = f"from rotoscope.media import confine\n{script}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", confined], env=CHILD_ENV, capture_output=True, check=True
    )
    return done.stdout.decode()


def attempt(expression: str) -> str:
    """Lines that print `done`, or the kind of error."""
    return (
        f"try:\n {expression}\n print('done')\nexcept Exception as e:\n print(type(e).__name__)\n"
    )


def test_no_network_without_the_filter() -> None:
    """Where the system lets a process leave it: there is not even a loopback that is up."""
    may_leave = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x50000000) != 0)"
    if subprocess.run([sys.executable, "-c", may_leave], check=False).returncode:
        pytest.skip("this system does not let a process leave its network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = in_confinement(
            "import socket\nconfine.allow_only = lambda *_: True\nconfine.confine()\n"
            + attempt(f"socket.create_connection(('127.0.0.1', {port}))")
        )

    assert said == "OSError\n"


def test_no_written_byte_and_no_more_memory(tmp_path: Path) -> None:
    """By limits alone, where system calls cannot be filtered."""
    said = in_confinement(
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nconfine.limit()\n"
        + attempt(f"open({str(tmp_path / 'a')!r}, 'wb', 0).write(b'x')")
        + attempt("bytearray(5 * 2**30)")
    )

    assert said == "OSError\nMemoryError\n"


@FILTERED
@pytest.mark.parametrize(
    "expression",
    [
        "open('/etc/passwd')",
        "open('/dev/fd/0')",
        "os.listdir('/')",
        "socket.socket()",
        "socket.socketpair()",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.unlink('/tmp/none')",
        "resource.setrlimit(resource.RLIMIT_CPU, (9, 9))",
        "os.memfd_create('a')",
    ],
)
def test_system_calls_that_decoding_does_not_need(expression: str) -> None:
    """They are refused as not permitted, whatever the process's rights are."""
    said = in_confinement(f"import os, resource, socket\nconfine.confine()\n{attempt(expression)}")

    # setrlimit is a ValueError for Python.
    assert said in {"PermissionError\n", "ValueError\n"}


@FILTERED
def test_threads_are_started_and_are_confined_too() -> None:
    """Decoders use them."""
    said = in_confinement(
        "import threading\nconfine.confine()\n"
        "def work():\n try: open('/etc/passwd')\n except PermissionError: print('refused')\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()"
    )

    assert said == "refused\n"


@FILTERED
def test_the_filter_answers_for_its_own_machine_alone() -> None:
    """Calls have other numbers in the 32-bit mode of the same processor."""
    said = in_confinement(
        "import struct\nprogram = confine.filter_program([0])\n"
        "print(struct.unpack('=HBBI', program[8:16])[3] == 0xC000003E)\n"
        "print(struct.unpack('=HBBI', program[16:24])[3] >> 16)"
    )

    assert said == "True\n5\n"


def test_the_child_loads_little() -> None:
    """It loads none of the large libraries, and of ours only what it needs."""
    listed = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", str(CHILD), '{"do": "probe"}'],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, env=CHILD_ENV,
    ).stderr.decode()  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in listed.splitlines()}

    assert {name for name in loaded if name.startswith("rotoscope.")} == {
        "rotoscope.media",
        "rotoscope.media.confine",
        "rotoscope.media.facts",
        "rotoscope.media.interlaced",
        "rotoscope.media.rgb",
        "rotoscope.media.streams",
        "rotoscope.media.wide",
    }
    assert not loaded & {"torch", "PIL", "cv2", "pydantic", "httpx2"}

"""What the child that opens untrusted video gives up before it looks at a single byte.

Memory, processor time and files by limits, the network by a namespace of its own where the system
lets it, and, on x86-64, every system call that decoding does not need: after `confine` no file can
be opened, no socket made, no program or process started.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable

CPU_SECONDS = 300
MEMORY_BYTES = 4 * 2**30

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

# Classic BPF (linux/bpf_common.h) and its answers (linux/seccomp.h).
LOAD, JUMP_IF_EQUAL, JUMP_IF_ANY_BIT, ANSWER = 0x20, 0x15, 0x45, 0x06
ALLOW, DENY = 0x7FFF0000, 0x00050000
EPERM, ENOSYS = 1, 38
# Where the program finds the call's number, its machine, and its first argument.
NUMBER_AT, MACHINE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
X86_64 = 0xC000003E
CLONE, CLONE3 = 56, 435
CLONE_THREAD = 0x10000
# What reading an open file, decoding on threads and writing to a pipe need, by number.
ALLOWED_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8,
    "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "pread64": 17, "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28,
    "dup": 32, "nanosleep": 35, "getpid": 39, "exit": 60, "uname": 63, "fcntl": 72,
    "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "sigaltstack": 131, "gettid": 186,
    "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219,
    "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "tgkill": 234, "newfstatat": 262, "set_robust_list": 273, "getrandom": 318,
    "membarrier": 324, "statx": 332, "rseq": 334,
}  # fmt: skip


def confine() -> None:
    """Everything above; what the system does not offer is left out, and the rest still holds."""
    limit()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Refused to a process with threads (sandbox.py sees to that), and containers may deny it: some
    # the first form, some both.
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        libc.unshare(CLONE_NEWNET)
    if platform.machine() == "x86_64":
        allow_only(libc, ALLOWED_X86_64.values())


def limit() -> None:
    for name, value in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(name)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (least, least))


def silence_libraries() -> int:
    """Send what libraries print to nowhere; returns a copy of standard error for our own use.

    The parent reads standard error last: a library that filled the pipe would wait for ever.
    """
    own = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return own


def allow_only(libc: ctypes.CDLL, numbers: Iterable[int]) -> bool:
    """Refuse all other system calls of this thread and those it starts (seccomp)."""
    program = filter_program(sorted(numbers))
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions of 8 bytes, and where.
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def filter_program(numbers: list[int]) -> bytes:
    """The BPF program: x86-64's own calls, by number; threads, but no processes.

    `clone3` hides its flags in memory that a filter cannot read. Called not to exist, it is
    replaced by `clone` in the C library, and `clone` is allowed for threads.
    """
    deny, missing = (DENY | EPERM), (DENY | ENOSYS)
    allowed = [
        step
        for number in numbers
        for step in (_step(JUMP_IF_EQUAL, number, 0, 1), _step(ANSWER, ALLOW))
    ]
    return b"".join(
        [
            _step(LOAD, MACHINE_AT),
            _step(JUMP_IF_EQUAL, X86_64, 1, 0),
            _step(ANSWER, deny),
            _step(LOAD, NUMBER_AT),
            *allowed,
            _step(JUMP_IF_EQUAL, CLONE3, 0, 1),
            _step(ANSWER, missing),
            _step(JUMP_IF_EQUAL, CLONE, 0, 3),
            _step(LOAD, FIRST_ARGUMENT_AT),
            _step(JUMP_IF_ANY_BIT, CLONE_THREAD, 0, 1),
            _step(ANSWER, ALLOW),
            _step(ANSWER, deny),
        ]
    )


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)

"""How commands end, as one table; docs/cli.md shows it."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    CANCELLED = 3
    NOT_NOW = 4
    CRASHED = 70
    DEVICE_LOST = 75
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.DONE: "It did what was asked.",
    Exit.FAILED: "The job failed, the server refused or does not answer, or the set-up is wrong; "
    "standard error says which.",
    Exit.WRONG_USE: "An option, an argument or an input field is wrong; each is named on standard "
    "error, and nothing was queued.",
    Exit.CANCELLED: "The request was cancelled, so it has no result.",
    Exit.NOT_NOW: "The request is in no state for this: it has not ended (`result`), or it runs or "
    "has ended (`cancel`).",
    Exit.CRASHED: "A worker met an error that nobody foresaw; its log has it (`work`).",
    Exit.DEVICE_LOST: "A worker lost its device; started again, it may find it (`work`).",
    Exit.INTERRUPTED: "Ctrl-C; it is the proper end of `watch`, which ends with 0.",
}

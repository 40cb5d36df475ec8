"""Where a job's files lie while it runs: a folder of its own, gone when the job ends.

Each worker has one folder below the system's temporary one (TMPDIR moves it) and holds a lock on
it. The lock ends with the process however it ends, so a folder whose lock is free belonged to a
worker that was killed.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rotoscope import telemetry

log = telemetry.logger()

PREFIX = "rotoscope-worker-"
LOCK = "lock"


@contextmanager
def workspace(parent: Path | None = None) -> Iterator[Path]:
    """A folder for this worker's jobs, locked and removed at the end."""
    parent = parent or Path(tempfile.gettempdir())
    sweep(parent)
    draft = Path(tempfile.mkdtemp(dir=parent, prefix="rotoscope-new-"))
    with (draft / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only now may another worker's sweep see the folder: it is locked already.
        folder = draft.rename(draft.with_name(draft.name.replace("rotoscope-new-", PREFIX, 1)))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def job_folder(workspace: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=workspace, prefix="job-") as name:
        yield Path(name)


def sweep(parent: Path) -> None:
    """Remove what killed workers left behind; other users' and live workers' folders stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        if _is_abandoned(folder):
            log.info("leftover_removed", folder=str(folder))
            shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, another user's, or being made right now
        return False
    return True

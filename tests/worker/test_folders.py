"""A worker's folders: its own, locked, and gone when it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from rotoscope.worker.folders import job_folder, sweep, workspace

HOLD = """
import sys
from pathlib import Path
from rotoscope.worker.folders import job_folder, workspace
with workspace(Path(sys.argv[1])) as folder, job_folder(folder) as job:
    (job / "video").write_bytes(b"half a video")
    print(job, flush=True)
    sys.stdin.read()
"""


def hold(parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A process that holds a job folder, and that folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_nothing_stays_of_a_job(tmp_path: Path) -> None:
    """Neither when it ends well nor when it raises."""
    with workspace(tmp_path) as folder:
        with job_folder(folder) as first:
            (first / "file").touch()
        with pytest.raises(ValueError, match="no"), job_folder(folder) as second:
            raise ValueError("no")
        assert first != second
        assert not first.exists()
        assert not second.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_workers_folder_is_removed_at_the_next_start(tmp_path: Path) -> None:
    """Its lock went with it; a live worker's folder stays."""
    killed, left = hold(tmp_path)
    living, held = hold(tmp_path)
    with killed, living:
        killed.kill()
        killed.wait()
        assert left.exists()

        with workspace(tmp_path):
            assert not left.parent.exists()
            assert (held / "video").exists()
        living.communicate("")


def test_sweeping_leaves_what_is_not_a_workers(tmp_path: Path) -> None:
    """A folder without a lock file, or of another name, is not touched."""
    (tmp_path / "rotoscope-worker-new").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lock").touch()

    sweep(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "rotoscope-worker-new"]

"""What was acknowledged is on disk, whatever happens to the process."""

import signal
import subprocess
import sys
from pathlib import Path

from rotoscope.jobs.job import State
from rotoscope.jobs.sqlite import SqliteJobStore

SUBMITTER = """
import sys
from pathlib import Path
from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.jobs.store import NewJob
from rotoscope.schema.input import VideoToVideoInput

asked = VideoToVideoInput(prompt="a", video_url="https://example.org/a.mp4", loras=())
store = SqliteJobStore(Path(sys.argv[1]), lease_s=60, max_attempts=2)
while True:
    print(store.submit(NewJob(model_id="m", key_id="k", input=asked)).job.id, flush=True)
    if lease := (store.claim("w") if store.waiting() % 3 == 0 else None):
        print(lease.job.id, flush=True)
"""


def test_a_killed_process_loses_no_acknowledged_submit(tmp_path: Path) -> None:
    """After kill -9 in full flight every job whose id was answered is there, and none twice."""
    with subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline().strip() for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        answered += [line.strip() for line in process.stdout if line.endswith("\n")]

    with SqliteJobStore(tmp_path, lease_s=60, max_attempts=2) as store:
        jobs = {job_id: store.get(job_id) for job_id in answered}
        queued = [job.id for job in jobs.values() if job and job.state is State.IN_QUEUE]
        again = []
        while lease := store.claim("w"):
            again.append(lease.job.id)

    assert None not in jobs.values()
    assert set(queued) <= set(again)
    assert len(again) == len(set(again))

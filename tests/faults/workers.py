"""Workers to be killed and stopped: the real loop with the stand-in model, in processes.

They come from a fork server that has loaded everything once. The only thing added is a witness,
who notes each start.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from rotoscope.schema.worker import Assignment
from rotoscope.settings import Settings
from rotoscope.worker import loop
from rotoscope.worker.run import Bench
from rotoscope.worker.stop import Stop
from tests.faults.clock import shift_clock
from tests.faults.witness import Witness
from tests.worker.stand_in_model import StandIn

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["tests.faults.workers"])


def start_worker(
    server_url: str, key: str, folder: Path, witness: Path, clock: Path, *, overlap: bool = False
) -> BaseProcess:
    settings = {"server_url": server_url, "worker_key": key, "data_dir": str(folder)}
    settings["overlap"] = str(overlap)
    process = forked.Process(
        target=_run, args=(settings, str(folder), str(witness), str(clock)), daemon=True
    )
    process.start()
    return process


def _run(settings: dict[str, str], folder: str, witness: str, clock: str) -> None:
    """The body of a worker process."""
    tempfile.tempdir = folder
    shift_clock(Path(clock))
    _watch(Witness(Path(witness)))
    log = os.open(f"{folder}/worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    stop = Stop()
    stop.listen(tied=False)
    loop.work(Settings(**settings), lambda _: StandIn(), stop)


def _watch(witness: Witness) -> None:
    """Have each start and end of a job noted."""
    do_job = loop.do_job
    name = str(os.getpid())

    def watched(
        job: Assignment, bench: Bench, folder: Path, stop: Stop, give_way: Callable[[], None]
    ) -> None:
        witness.note("start", job.request_id, job.attempt, name)
        do_job(job, bench, folder, stop, give_way)
        witness.note("end", job.request_id, job.attempt, name)

    loop.do_job = watched

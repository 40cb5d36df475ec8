"""Claim, run, finish, again: what a worker does until it is told to end.

A job ends in exactly one of five ways: succeeded, failed with a code, cancelled because its owner
asked for that, released to the queue because the worker is ending, or dropped because the server
gave it to another attempt.
"""

import gc
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from structlog.contextvars import bound_contextvars

from rotoscope import telemetry, traces
from rotoscope.errors import JobError, LeaseLostError, OperatorError
from rotoscope.schema.worker import Assignment
from rotoscope.settings import Settings
from rotoscope.worker.api import RefusedError, ServerAwayError, WorkerApi
from rotoscope.worker.facts import facts_of, is_on_gpu
from rotoscope.worker.failure import failure_of, leaves_device_unusable
from rotoscope.worker.folders import job_folder, workspace
from rotoscope.worker.heartbeat import Heartbeat
from rotoscope.worker.held import Held
from rotoscope.worker.progress import CancelAskedError, Report, StoppedError
from rotoscope.worker.run import Bench, Model, run
from rotoscope.worker.stop import Stop

log = telemetry.logger()

PAUSE_WHEN_AWAY_S = 1.0
WORKER_ID = f"{socket.gethostname()}-{os.getpid()}"


class DeviceLostError(OperatorError):
    """The GPU answers no more; the worker must be started anew."""


def work(settings: Settings, open_model: Callable[[Settings], Model], stop: Stop) -> None:
    """Do jobs until `stop`, two at a time where they overlap.

    Raises:
        OperatorError: The checkpoint cannot run here, or the server refuses the key.
        DeviceLostError: A job left the GPU unusable; a new process can go on.
    """
    with workspace() as folder, connect(settings, stop) as api:
        model = open_model(settings)
        api.facts = facts_of(model.checkpoint, settings)
        # The model and the libraries stay: collecting garbage after a job need not look at them.
        gc.collect()
        gc.freeze()
        stop.ready()
        log.info("worker_ready", server=settings.server_url, checkpoint=model.checkpoint.name)
        do_jobs(Bench(model, api, settings), folder, stop)
    log.info("worker_ended")


def connect(settings: Settings, stop: Stop) -> WorkerApi:
    key = settings.worker_key.get_secret_value() if settings.worker_key else ""
    return WorkerApi(
        settings.server_url, key, worker_id=WORKER_ID, pool=settings.pool, stopping=stop.event
    )


def do_jobs(bench: Bench, folder: Path, stop: Stop) -> None:
    """The jobs of all lanes until `stop`; what ends a lane by an error comes out here."""
    lanes, held = 2 if overlaps(bench.settings) else 1, Held()
    with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
        ends = [pool.submit(do_lane, bench, folder, stop, held) for _ in range(lanes)]
    for end in ends:
        end.result()


def overlaps(settings: Settings) -> bool:
    """Whether a job is fetched and read, or encoded and stored, while another is generated."""
    return is_on_gpu(settings) if settings.overlap is None else settings.overlap


def do_lane(bench: Bench, folder: Path, stop: Stop, held: Held) -> None:
    """One job after the other until `stop`; an error ends the other lane as well."""
    try:
        while True:
            with bench.turns.claiming() as turn:
                if stop.draining or bench.turns.device_lost:
                    return
                if job := claim(bench, stop, held):
                    held.note(job.affinity)
                    with bound_contextvars(request_id=job.request_id, attempt=job.attempt):
                        do_job(job, bench, folder, stop, give_way=turn.over)
    except BaseException:
        stop.end()
        raise


def claim(bench: Bench, stop: Stop, held: Held) -> Assignment | None:
    """The next job, if there is one for now."""
    try:
        return bench.api.claim(loaded=held.sets)
    except ServerAwayError as error:
        log.warning("server_away", reason=str(error))
        stop.wait(PAUSE_WHEN_AWAY_S)
        return None


def do_job(
    job: Assignment,
    bench: Bench,
    folder: Path,
    stop: Stop,
    give_way: Callable[[], None] = lambda: None,
) -> None:
    """Run one job to one of its ends; nothing of it stays, whatever happens.

    `give_way` is called, maybe often, once the job has nearly done with the model.
    """
    log.info("job_claimed")
    report = Report(stop.event, give_way=give_way)
    report.warn(job.warnings)
    with job_folder(folder) as own, Heartbeat(job, bench.api, report):
        try:
            finish(job, bench, own, report)
        except LeaseLostError as error:
            log.warning("job_dropped", reason=str(error))
        except (ServerAwayError, RefusedError) as error:
            log.warning("job_left_to_its_lease", reason=str(error))
        finally:
            traces.attempted(job.request_id, job.attempt, WORKER_ID, report.seconds())


def finish(job: Assignment, bench: Bench, folder: Path, report: Report) -> None:
    try:
        outcome = run(job, bench, folder, report)
        bench.api.succeed(job, outcome, report)
        log.info("job_succeeded", seconds=round(outcome.metrics["total"], 1))
    except StoppedError:
        release(job, bench)
    except CancelAskedError:
        bench.api.stop(job)
        log.info("job_cancelled")
    except (LeaseLostError, ServerAwayError, OperatorError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a job raises must not end the worker
        if leaves_device_unusable(error) and not bench.turns.loses_device(error):
            release(job, bench)
        else:
            fail(job, bench, report, error)


def release(job: Assignment, bench: Bench) -> None:
    bench.api.release(job)
    log.info("job_released")


def fail(job: Assignment, bench: Bench, report: Report, error: Exception) -> None:
    failure = failure_of(error)
    foreseen = isinstance(error, JobError)
    log.error("job_failed", code=failure.code, exc_info=None if foreseen else error)
    bench.api.fail(job, failure, report)
    if bench.turns.loses_device(error):
        raise DeviceLostError("The GPU gave an error that only a new process clears.") from error

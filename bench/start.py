"""Cold start: seconds from a process's start until it is of use, and what they go into.

    python -m bench.start [--runs 3] [--frames 25] [--width 256] [--height 128] [--steps 8]

A server is started; a job waits before its worker starts. So the worker's first result comes as
soon as it can, and a second job of the same shape tells what a warm worker takes for it. Checkpoint
`mini`, made before unless `--fresh`. Below the seconds, those that the worker's imports take, by
package: `python -X importtime`, which itself makes them slower. Bounded: half a minute a run.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.table import Table

from bench.overhead import SAMPLE, make_body
from bench.scene import scene
from rotoscope.cli.children import Child
from rotoscope.client import Client

PACKAGES = ("rotoscope", "torch", "diffusers", "transformers")
IMPORTS = "import rotoscope.worker.stop, rotoscope.generation.pipeline, rotoscope.worker.loop"
IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w]+)")
SHOWN = 8


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="rotoscope-bench-") as folder:
        runs = [once(options, Path(folder)) for _ in range(options.runs + 1)][1:]
    console = Console(highlight=False)
    console.print(table(runs))
    console.print(imports_table())
    shape = f"{options.frames} frames of {options.width}x{options.height}, {options.steps} steps"
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    told = scene(PACKAGES, checkpoint="mini", job=shape, threads=threads)
    console.print(told, markup=False, soft_wrap=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds from start to ready and first result.")
    defaults = {"runs": 3, "frames": 25, "width": 256, "height": 128, "steps": 8}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--fresh", action="store_true", help="make mini anew in every run")
    return parser.parse_args()


def once(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One server and one worker, two jobs; seconds since the start of the process in question."""
    if options.fresh:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    key = secrets.token_urlsafe(16)
    environment = {
        "ROTOSCOPE_DATA_DIR": str(folder),
        "ROTOSCOPE_PORT": "0",
        "ROTOSCOPE_ANONYMOUS": "true",
        "ROTOSCOPE_CHECKPOINT": "mini",
        "ROTOSCOPE_WORKER_KEY": key,
        "ROTOSCOPE_LOG_FORMAT": "json",
    }
    started = time.perf_counter()
    with (
        (folder / "log").open("wb") as log,
        serving(environment, log) as url,
        Client(url) as client,
    ):
        serves = time.perf_counter() - started
        body = make_body(options, client.upload(SAMPLE).url)
        client.submit(body)
        started = time.perf_counter()
        with working({**environment, "ROTOSCOPE_SERVER_URL": url}) as events:
            seconds = {event: time.perf_counter() - started for event in until_done(events)}
            started = time.perf_counter()
            client.submit(body)
            list(until_done(events))
            again = time.perf_counter() - started
    return {
        "server: start to ready": serves,
        "worker: start to ready": seconds["worker_ready"],
        "worker: start to first result": seconds["job_succeeded"],
        "the same job again": again,
    }


@contextmanager
def serving(environment: Mapping[str, str], log: IO[bytes]) -> Iterator[str]:
    server = Child("serve", environment, log)
    try:
        yield server.announced()
    finally:
        server.end()


@contextmanager
def working(environment: Mapping[str, str]) -> Iterator[Iterator[str]]:
    """A worker and the names of its log's events, as they come."""
    with subprocess.Popen(
        [sys.executable, "-m", "rotoscope", "work", "--tied"],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdin
        assert worker.stderr
        yield map(event_of, worker.stderr)
        worker.stdin.close()
        worker.stderr.read()


def event_of(line: str) -> str:
    """The name of a log line's event; a library's own line has none."""
    return str(json.loads(line).get("event")) if line.startswith("{") else ""


def until_done(events: Iterator[str]) -> Iterator[str]:
    """The events up to the end of a job."""
    for event in events:
        assert event not in {"job_failed", "worker_died"}, event
        yield event
        if event == "job_succeeded":
            return
    raise RuntimeError("The worker ended before its job did.")


def table(runs: Sequence[Mapping[str, float]]) -> Table:
    title = f"median of {len(runs)} runs, after one that warms the disk's cache"
    shown = Table("from", "s", title=title, title_style="")
    for name in runs[0]:
        shown.add_row(name, f"{statistics.median(run[name] for run in runs):.2f}")
    return shown


def imports_table() -> Table:
    """The packages that the worker's imports take longest in, without what they import."""
    seconds = Counter[str]()
    for microseconds, package in IMPORT_LINE.findall(imported()):
        seconds[package] += int(microseconds) / 1e6
    shown = Table("imports", "s", title="with the interpreter's own clock", title_style="")
    shown.add_row("all", f"{seconds.total():.2f}")
    for package, taken in seconds.most_common(SHOWN):
        shown.add_row(package, f"{taken:.2f}")
    return shown


def imported() -> str:
    """What the interpreter says of each module that a worker imports."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-c", IMPORTS],
        capture_output=True,
        text=True,
        check=True,
    ).stderr


if __name__ == "__main__":
    main()

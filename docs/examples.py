"""Make the example frames of docs/parameters.md, with `mini`: `make examples`.

Each example is a row of clips that differ in one field; of each, one frame is shown. They go
through a temporary server, as `rotoscope run` sends them. NAMES as arguments make those alone.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rotoscope.cli.place import place_for
from rotoscope.client import Client
from rotoscope.media.clip import Frames, Size
from rotoscope.media.decode import decode, probe
from rotoscope.settings import Settings

FOLDER = Path(__file__).parent / "images" / "parameters"
SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"
SIZE = Size(256, 128)
LABEL_HEIGHT, GAP, QUALITY = 22, 4, 85
CYANOTYPE = "rotoscope://loras/style_cyanotype"
BASE: dict[str, Any] = {
    "prompt": "original video",
    "loras": [],
    "video_size": {"width": SIZE.width, "height": SIZE.height},
    "match_video_length": False,
    "num_frames": 25,
    "num_inference_steps": 8,
    "generate_audio": False,
    "seed": 1,
}
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """Clips side by side: what is written above each, and the fields that it asks for."""

    clips: Mapping[str, Fields]
    frame: int = 12
    """Which of the frames is shown, counted from 0."""
    control: bool = False
    """Whether the control videos are shown, above the results."""


def cyanotype(scale: float) -> Fields:
    return {"loras": [{"path": CYANOTYPE, "scale": scale}]}


def drawn(preprocessor: str) -> Fields:
    return {"preprocessor": preprocessor, "prompt": "warm light"}


EXAMPLES = {
    "prompt": Example(
        {
            text: {"prompt": text}
            for text in ("original video", "black-and-white video", "sepia", "at night")
        }
    ),
    "negative_prompt": Example(
        {
            "left empty": {"negative_prompt": ""},
            "cold light": {"negative_prompt": "cold light"},
            "warm light": {"negative_prompt": "warm light"},
        }
    ),
    "guidance_scale": Example(
        {
            f"{scale}": {"prompt": "cold light", "negative_prompt": "", "guidance_scale": scale}
            for scale in (1, 3, 9)
        }
    ),
    "loras": Example({f"cyanotype, scale {scale}": cyanotype(scale) for scale in (0, 0.5, 1)}),
    "video_strength": Example(
        {f"{strength}": {"video_strength": strength} for strength in (1, 0.6, 0.3, 0)}
    ),
    "seed": Example(
        {f"{seed}": {"seed": seed, "video_strength": 0.3} for seed in (1, 2, 3)},
    ),
    "preprocessor": Example(
        {name: drawn(name) for name in ("canny", "depth", "pose")}, frame=20, control=True
    ),
    "camera_lora": Example(
        {
            move: {"camera_lora": move, "num_frames": 73}
            for move in ("none", "dolly_in", "dolly_left", "jib_up")
        },
        frame=72,
    ),
}


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        place_for(None, None, BASE, Settings()) as place,
        tempfile.TemporaryDirectory(prefix="rotoscope-examples-") as folder,
    ):
        source = place.client.upload(SAMPLE).url
        for name in names or EXAMPLES:
            tiles = made(EXAMPLES[name], source, place.client, Path(folder))
            picture(list(tiles)).save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)
            print(FOLDER / f"{name}.jpg", flush=True)  # noqa: T201 - it takes a while


def made(
    example: Example, source: str, client: Client, folder: Path
) -> Iterator[tuple[str, list[Frames]]]:
    """What is written above each clip, and its frames to show, from top to bottom."""
    for label, fields in example.clips.items():
        submitted = client.submit({**BASE, **fields, "video_url": source})
        result = client.wait(submitted.request_id)
        shown = [frame_of(client.download(result, folder / "made.mp4"), example.frame)]
        control = client.download_control(result, folder / "control.mp4")
        if example.control and control:
            shown.insert(0, frame_of(control, example.frame))
        yield label, shown


def frame_of(video: Path, number: int) -> Frames:
    """One frame, (H, W, 3)."""
    info = probe(video)
    return decode(video, frames=number + 1, fps=info.fps, size=SIZE)[number]


def picture(tiles: list[tuple[str, list[Frames]]]) -> Image.Image:
    """A column for each clip, in a frame of the page's own grey."""
    rows = len(tiles[0][1])
    width = len(tiles) * (SIZE.width + GAP) - GAP
    sheet = Image.new("RGB", (width, LABEL_HEIGHT + rows * (SIZE.height + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, (label, frames) in enumerate(tiles):
        left = column * (SIZE.width + GAP)
        draw.text((left + 2, 2), label, fill="black", font=font)
        for row, frame in enumerate(frames):
            tile = Image.fromarray(np.ascontiguousarray(frame))
            sheet.paste(tile, (left, LABEL_HEIGHT + row * (SIZE.height + GAP)))
    return sheet


if __name__ == "__main__":
    main(sys.argv[1:])

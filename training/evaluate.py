"""Run the checkpoint through the engine on clips it never saw; numbers and contact sheets.

T  frames    H, W  pixels    C  colour channels
"""

import io
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from rotoscope.generation.codec import decode_frames, encode_frames, to_frames
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Plan, make_plan
from rotoscope.media.clip import Frames, Size, VideoInfo
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.settings import Settings

Picture = npt.NDArray[np.uint8]
SHOWN = 4
FIDELITY_FRAMES, FIDELITY_AREA = 25, 768 * 448
MARGIN = 14


@dataclass(frozen=True, slots=True)
class Measured:
    """What a prompt did to a clip; ratios are of the result to the source."""

    clip: str
    prompt: str
    seconds: float
    psnr_source: float
    psnr_codec: float
    """Against the source through the codec alone, at full size."""
    saturation: float
    brightness: float
    edges: float
    """Correlation of edge strength with the source's."""
    flicker: float


def open_pipeline(folder: Path) -> Pipeline:
    """The engine on `folder`."""
    return Pipeline.open(Settings(checkpoint_dir=folder, device="cpu"))


def fidelity(pipeline: Pipeline, films: Iterator[tuple[str, bytes]]) -> list[Measured]:
    """How well each film comes back when nothing is to change: a row each, at full strength."""
    rows = []
    for name, data in films:
        clip = read_clip(io.BytesIO(data), FIDELITY_FRAMES / 24)
        _, height, width, _ = clip[0].shape
        request = {
            "prompt": "original video",
            "match_video_length": False,
            "num_frames": FIDELITY_FRAMES,
            "num_inference_steps": 20,
            "video_size": _of_area(width, height),
        }
        rows.append(run_prompt(pipeline, name, clip, request)[0])
    return rows


def _of_area(width: int, height: int) -> dict[str, int]:
    """A size of about FIDELITY_AREA with these proportions, in multiples of 64."""
    shrink = math.sqrt(FIDELITY_AREA / (width * height))
    return {"width": round(width * shrink / 64) * 64, "height": round(height * shrink / 64) * 64}


def read_clip(path: Path | io.BytesIO, seconds: float) -> tuple[Frames, Fraction]:
    with av.open(path, mode="r") as container:
        rate = container.streams.video[0].average_rate or Fraction(25)
        most = int(seconds * rate) + 1
        pictures = []
        for frame in container.decode(video=0):
            pictures.append(frame.to_ndarray(format="rgb24"))
            if len(pictures) == most:
                break
    return np.stack(pictures), rate


def run_prompt(
    pipeline: Pipeline, name: str, clip: tuple[Frames, Fraction], request: dict[str, object]
) -> tuple[Measured, Frames, Frames]:
    """One request; the source at the result's size and the result."""
    frames_THWC, rate = clip
    count, height, width, _ = frames_THWC.shape
    asked = VideoToVideoInput.model_validate(
        {"video_url": "https://example.org/clip.mp4", "loras": (), **request}
    )
    info = VideoInfo(
        size=Size(width, height), fps=rate, duration_s=float(count / rate), codec="h264"
    )
    plan = make_plan(asked, info, pipeline.checkpoint, max_area=None)
    began = time.monotonic()
    source = None
    if plan.reference is not None:
        source = _resized(frames_THWC[: plan.reference.frames], plan.reference.size)
    made = pipeline.generate(plan, source, None, (), lambda *_: None).clip.frames_THWC
    seconds = time.monotonic() - began
    full = _resized(frames_THWC[: len(made)], plan.size)
    return _measure(pipeline, name, asked.prompt, seconds, full, made, plan), full, made


def _resized(frames_THWC: Frames, size: Size) -> Frames:
    pictures = [
        np.asarray(Image.fromarray(frame).resize((size.width, size.height), Image.Resampling.BOX))
        for frame in frames_THWC
    ]
    return np.stack(pictures)


def _measure(  # noqa: PLR0913, PLR0917 - what a row of the table needs
    pipeline: Pipeline,
    name: str,
    prompt: str,
    seconds: float,
    source: Frames,
    made: Frames,
    plan: Plan,
) -> Measured:
    return Measured(
        clip=name,
        prompt=prompt,
        seconds=round(seconds, 1),
        psnr_source=psnr(source, made),
        psnr_codec=psnr(_through_codec(pipeline, source), made),
        saturation=_ratio(_saturation(made), _saturation(source)),
        brightness=_ratio(float(made.mean()), float(source.mean())),
        edges=_edge_correlation(source, made),
        flicker=_ratio(_flicker(made), _flicker(source)),
    )


def psnr(one: Frames, other: Frames) -> float:
    error = float(np.mean((one.astype(np.float32) - other) ** 2))
    return round(10 * math.log10(255**2 / max(error, 1e-6)), 2)


def _through_codec(pipeline: Pipeline, frames: Frames) -> Frames:
    with torch.inference_mode():
        latents = encode_frames(pipeline.models, np.ascontiguousarray(frames))
        return to_frames(decode_frames(pipeline.models, latents))


def _ratio(one: float, other: float) -> float:
    return round(one / max(other, 1e-6), 3)


def _saturation(frames: Frames) -> float:
    return float((frames.max(-1).astype(np.int16) - frames.min(-1)).mean())


def _luma(frames: Frames) -> npt.NDArray[np.float32]:
    weights_C = np.array([0.2126, 0.7152, 0.0722], np.float32)
    luma: npt.NDArray[np.float32] = frames.astype(np.float32) @ weights_C
    return luma


def _edge_correlation(source: Frames, made: Frames) -> float:
    edges = [np.hypot(*np.gradient(_luma(f)[::4], axis=(1, 2))).ravel() for f in (source, made)]
    return round(float(np.corrcoef(*edges)[0, 1]), 3)


def _flicker(frames: Frames) -> float:
    """Mean change of brightness of the whole picture from one frame to the next."""
    return float(np.abs(np.diff(_luma(frames).mean((1, 2)))).mean()) + 0.05


def contact_sheet(rows: Sequence[tuple[str, Frames]], path: Path) -> None:
    """A row of frames per clip, its name above it."""
    pictures = []
    for label, frames in rows:
        chosen = frames[np.linspace(0, len(frames) - 1, SHOWN).astype(int)]
        strip = np.concatenate(list(chosen), axis=1)
        banner = Image.new("RGB", (strip.shape[1], MARGIN), "white")
        ImageDraw.Draw(banner).text((2, 1), label, fill="black")
        pictures += [np.asarray(banner), strip]
    Image.fromarray(np.concatenate(pictures)).save(path)


def save_table(rows: Sequence[Measured], path: Path) -> None:
    path.write_text("\n".join(json.dumps(asdict(row)) for row in rows) + "\n")

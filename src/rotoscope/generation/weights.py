"""Checkpoints by name: what each is, where its files come from, and whether they are here.

This module loads no model and no torch, so that the command line can list checkpoints anywhere;
hub.py downloads them, models.py opens them. Every checkpoint is a folder in diffusers'
layout, one subfolder per part. Sizes are of the bfloat16 files as published;
docs/decisions/0002 tells of the licences.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

from rotoscope.errors import OperatorError
from rotoscope.schema.input import LORA_SCHEME, CameraLora, IcLora
from rotoscope.settings import Settings

GB = 1_000_000_000

SHIPPED = Path(__file__).parent.parent / "data"

# Sigmas of the second pass. Source: Lightricks' published LTX-2 pipelines.
REFINE_SIGMAS = (0.909375, 0.725, 0.421875)

# Each part of a checkpoint, and the file that shows that it is there.
PARTS: dict[str, str] = {
    "transformer": "config.json",
    "vae": "config.json",
    "audio_vae": "config.json",
    "vocoder": "config.json",
    "connectors": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "latent_upsampler": "config.json",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Files of one Hugging Face repository: parts of the checkpoint, and single files."""

    repo: str
    parts: tuple[str, ...]
    files: tuple[str, ...] = ()
    revision: str = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One row of the registry."""

    name: str
    description: str
    licence: str
    distilled: bool
    """Trained for few steps without guidance, on a fixed schedule."""
    max_area: int
    """Most pixels of a frame with `video_size: auto`, unless the operator says otherwise."""
    text_tokens: int
    """Length to which prompts are padded or cut."""
    writes_prompts: bool = True
    """Whether its text encoder is a language model that can expand prompts."""
    download_bytes: int
    memory_bytes: int
    """What the weights take when loaded."""
    lean_bytes: int
    """What they and a small job take on a device under the leanest memory plan."""
    sources: tuple[Source, ...] = ()
    """Where the files come from; empty for a checkpoint that the project makes itself."""
    refine_lora: str | None = None
    """File of the LoRA that turns the transformer into the second stage's."""
    refine_lora_scale: float = 1.0
    refine_sigmas: tuple[float, ...] = REFINE_SIGMAS
    """Noise levels of the second pass, falling, without the final 0."""
    refine_sees_reference: bool = False
    """Whether the second pass is given the source too; the published pipelines leave it out."""
    refine_guidance: float = 1.0
    """Most guidance of the second pass; 1, as in the published pipelines, is none."""
    stg_block: int = 29
    """The block whose self-attention spatio-temporal guidance perturbs; LTX-2 19B's is 29."""
    ic_loras: Mapping[str, str]
    """By the values of `ic_lora`; each a path as in `loras`."""
    camera_loras: Mapping[str, str]
    """By the values of `camera_lora`."""
    full_precision: bool = False
    """Kept in float32 on a GPU too, instead of the bfloat16 that LTX-2 was trained in."""


IC_LORAS = tuple(name for name in get_args(IcLora) if name not in {"match_preprocessor", "none"})
CAMERA_LORAS = tuple(name for name in get_args(CameraLora) if name != "none")
PUBLISHED_IC_LORAS = {
    "canny": "Lightricks/LTX-2-19b-IC-LoRA-Canny-Control",
    "depth": "Lightricks/LTX-2-19b-IC-LoRA-Depth-Control",
    "pose": "Lightricks/LTX-2-19b-IC-LoRA-Pose-Control",
    "detailer": "Lightricks/LTX-2-19b-IC-LoRA-Detailer",
}
PUBLISHED_CAMERA_LORAS = {
    name: f"Lightricks/LTX-2-19b-LoRA-Camera-Control-{name.title().replace('_', '-')}"
    for name in CAMERA_LORAS
}

CHECKPOINTS: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            name="mini",
            description="LTX-2's classes, small, with weights of its own, for developing clients "
            "and trying parameters on any laptop: each has an effect that can be seen. It restyles "
            "the source and cannot invent a scene. Fitted to 600 clips and stills of MIT-licensed "
            "packages and to generated pictures; says nothing about the quality of LTX-2 19B.",
            licence="Apache-2.0",
            distilled=False,
            max_area=448 * 256,
            text_tokens=128,
            writes_prompts=False,
            download_bytes=0,
            memory_bytes=2 * GB,
            lean_bytes=2 * GB,
            refine_sees_reference=True,
            refine_guidance=5.0,
            # Its latents are not redundant enough to come through 91 % noise.
            refine_sigmas=(0.5, 0.28, 0.1),
            stg_block=0,
            ic_loras={name: f"{LORA_SCHEME}ic_{name}" for name in IC_LORAS},
            camera_loras={name: f"{LORA_SCHEME}camera_{name}" for name in CAMERA_LORAS},
            full_precision=True,
        ),
        Checkpoint(
            name="ltx-2-19b-dev",
            description="LTX-2 19B, the full model: any number of steps, with guidance.",
            licence="LTX-2 Community License (Gemma terms for the text encoder)",
            distilled=False,
            max_area=1280 * 720,
            text_tokens=1024,
            download_bytes=77 * GB,
            memory_bytes=69 * GB,
            lean_bytes=22 * GB,
            sources=(
                Source(
                    "Lightricks/LTX-2",
                    tuple(PARTS),
                    files=("ltx-2-19b-distilled-lora-384.safetensors",),
                ),
            ),
            refine_lora="ltx-2-19b-distilled-lora-384.safetensors",
            ic_loras=PUBLISHED_IC_LORAS,
            camera_loras=PUBLISHED_CAMERA_LORAS,
        ),
        Checkpoint(
            name="ltx-2-19b-distilled",
            description="LTX-2 19B distilled: eight fixed steps, no guidance, about six times "
            "as fast.",
            licence="LTX-2 Community License (Gemma terms for the text encoder)",
            distilled=True,
            max_area=1280 * 720,
            text_tokens=1024,
            download_bytes=69 * GB,
            memory_bytes=69 * GB,
            lean_bytes=22 * GB,
            sources=(
                Source(
                    "rootonchair/LTX-2-19b-distilled",
                    tuple(part for part in PARTS if part != "latent_upsampler"),
                ),
                Source("Lightricks/LTX-2", ("latent_upsampler",)),
            ),
            ic_loras=PUBLISHED_IC_LORAS,
            camera_loras=PUBLISHED_CAMERA_LORAS,
        ),
    )
}


def find_checkpoint(name: str) -> Checkpoint:
    if name not in CHECKPOINTS:
        raise OperatorError(
            f"There is no checkpoint {name!r}; the registry has {', '.join(CHECKPOINTS)}."
        )
    return CHECKPOINTS[name]


def folder_of(name: str, settings: Settings) -> Path:
    """The folder with the files of checkpoint `name`, whether they are there or not."""
    if settings.checkpoint_dir is not None and name == settings.checkpoint:
        return settings.checkpoint_dir
    if not find_checkpoint(name).sources:
        name = f"{name}-{_recipe(SHIPPED / name)[:8]}"
    return settings.data_dir / "checkpoints" / name


@cache
def _recipe(data: Path) -> str:
    """A hash of all that a checkpoint is made from here, so that an upgrade makes it anew.

    That is the folder `data`, and the code beside this file that has its name.
    """
    here, name = Path(__file__).parent, data.name
    code = [*here.glob(f"{name}.py"), *here.glob(f"{name}/**/*.py")]
    digest = hashlib.sha256()
    for file in [*sorted(data.rglob("*.safetensors")), *sorted(code)]:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def shipped_loras(name: str, settings: Settings) -> dict[str, Path]:
    """LoRAs that come with checkpoint `name`: the package's, and those of its folder's `loras`."""
    folders = (SHIPPED / name / "loras", folder_of(name, settings) / "loras")
    files = [file for folder in folders for file in folder.glob("*.safetensors")]
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def state_of(name: str, settings: Settings) -> tuple[str, str]:
    """Whether a checkpoint is `ready`, `missing` or `incomplete`, and a sentence about it."""
    checkpoint, folder = find_checkpoint(name), folder_of(name, settings)
    absent = missing_files(checkpoint, folder)
    if not absent:
        return "ready", f"complete in {folder}"
    if not checkpoint.sources:
        if not folder.is_dir():
            return "missing", "made on first use, in seconds"
        return "incomplete", f"{folder} lacks {', '.join(absent[:3])}; delete it to have it made"
    get = f"`rotoscope models fetch {name}` downloads {checkpoint.download_bytes / GB:.0f} GB"
    if not folder.is_dir():
        return "missing", f"nothing in {folder}; {get}"
    return "incomplete", f"{folder} lacks {', '.join(absent[:3])}; {get}"


def missing_files(checkpoint: Checkpoint, folder: Path) -> list[str]:
    """Files the checkpoint needs that `folder` does not have, sharded weights included."""
    needed = [f"{part}/{marker}" for part, marker in PARTS.items()]
    if checkpoint.refine_lora:
        needed.append(checkpoint.refine_lora)
    absent = [name for name in needed if not (folder / name).is_file()]
    for part in PARTS:
        if part != "tokenizer" and (folder / part).is_dir():
            absent += _missing_shards(folder, part)
    return absent


def _missing_shards(folder: Path, part: str) -> list[str]:
    indexes = sorted((folder / part).glob("*.safetensors.index.json"))
    if not indexes:
        single = any((folder / part).glob("*.safetensors"))
        return [] if single else [f"{part}/*.safetensors"]
    shards = {
        shard for index in indexes for shard in json.loads(index.read_text())["weight_map"].values()
    }
    return [f"{part}/{name}" for name in sorted(shards) if not (folder / part / name).is_file()]

"""Open a checkpoint: its folder on disk becomes models on a device, ready to run.

Weights are read from safetensors only. A machine that is too small for the leanest memory plan is
refused before anything is read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel, LTX2TextConnectors, LTX2Vocoder
from diffusers.utils import logging as diffusers_logging
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from rotoscope.errors import OperatorError
from rotoscope.generation.memory import TILE, TILE_STEP, Footprint, Mode, Room
from rotoscope.generation.mini.make import make_mini
from rotoscope.generation.mini.thin import thin_convolutions
from rotoscope.generation.placement import Placement
from rotoscope.generation.weights import (
    GB,
    Checkpoint,
    find_checkpoint,
    folder_of,
    missing_files,
    state_of,
)
from rotoscope.settings import Settings

# A worker's log is no place for their bars.
diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The parts of one checkpoint, on one device, in inference mode."""

    checkpoint: Checkpoint
    folder: Path
    device: torch.device
    tokenizer: PreTrainedTokenizerBase
    text_encoder: Gemma3ForConditionalGeneration
    connectors: LTX2TextConnectors
    transformer: LTX2VideoTransformer3DModel
    vae: AutoencoderKLLTX2Video
    upsampler: LTX2LatentUpsamplerModel
    audio_vae: AutoencoderKLLTX2Audio
    vocoder: LTX2Vocoder
    placement: Placement
    """Where the weights of these parts are; who uses a part asks it for that."""


def open_models(settings: Settings) -> Models:
    """Open the configured checkpoint on the configured device.

    Raises:
        OperatorError: The checkpoint is unknown or incomplete, or the machine too small; said
            before any weight is read.
    """
    checkpoint = find_checkpoint(settings.checkpoint)
    folder = folder_of(checkpoint.name, settings)
    if not checkpoint.sources and not folder.is_dir():
        make_mini(folder)
    if missing_files(checkpoint, folder):
        raise OperatorError(
            f"{checkpoint.name} cannot be opened: {state_of(checkpoint.name, settings)[1]}."
        )
    device = pick_device(settings)
    mode = opening_mode(checkpoint, device, settings.memory)
    return _load(checkpoint, folder, device, mode)


def pick_device(settings: Settings) -> torch.device:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise OperatorError(
            "ROTOSCOPE_DEVICE is cuda, but torch finds no CUDA card; install the NVIDIA driver "
            "and a CUDA build of torch, or set it to cpu."
        )
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def memory_of(device: torch.device) -> int:
    """Bytes that are free on the device: the card's memory, or the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def room_of(models: Models, footprint: Footprint) -> Room:
    """What the weights of `models`, wherever they are, and a job can have together."""
    device, loaded = models.device, footprint.total
    if device.type == "cpu":
        return Room(memory_of(device) + loaded, None)
    at_home = 0 if models.placement.mode == "resident" else loaded
    reserved = int(torch.cuda.memory_reserved(device))
    return Room(memory_of(device) + reserved, memory_of(torch.device("cpu")) + at_home)


def opening_mode(
    checkpoint: Checkpoint, device: torch.device, asked: Literal["auto"] | Mode
) -> Mode:
    """The memory plan to open `checkpoint` under; auto takes another for a job that needs it.

    Raises:
        OperatorError: The machine is too small for it, or for any.
    """
    whole, free = checkpoint.memory_bytes, memory_of(device)
    if device.type == "cpu" or asked == "resident":
        _require(checkpoint, device, whole, free)
        return "resident" if asked == "auto" else asked
    if asked == "auto" and free >= whole:
        return "resident"
    _require(checkpoint, device, checkpoint.lean_bytes, free)
    host = torch.device("cpu")
    _require(checkpoint, host, whole, memory_of(host))
    return "offloaded" if asked == "auto" else asked


def _require(checkpoint: Checkpoint, device: torch.device, needs: int, free: int) -> None:
    if free < needs:
        raise OperatorError(
            f"{checkpoint.name} needs {needs / GB:.1f} GB of memory and "
            f"{device} has {free / GB:.1f} GB free; use a larger machine, or the checkpoint mini."
        )


def dtype_of(checkpoint: Checkpoint, device: torch.device) -> torch.dtype:
    """bfloat16, which LTX-2 was trained in; float32 on CPUs, and where the checkpoint needs it."""
    if device.type == "cpu" or checkpoint.full_precision:
        return torch.float32
    return torch.bfloat16


def _load(checkpoint: Checkpoint, folder: Path, device: torch.device, mode: Mode) -> Models:
    dtype, parts = dtype_of(checkpoint, device), {}
    home = device if mode == "resident" else torch.device("cpu")

    def part(kind: Any, name: str) -> Any:
        # From the file to where it stays; on one device the libraries add no hooks.
        model = kind.from_pretrained(
            folder / name,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            device_map={"": home},
        )
        parts[name] = model.eval().requires_grad_(requires_grad=False)
        return parts[name]

    transformer = part(LTX2VideoTransformer3DModel, "transformer")
    vae = part(AutoencoderKLLTX2Video, "vae")
    vae.tile_sample_min_height = vae.tile_sample_min_width = TILE
    vae.tile_sample_stride_height = vae.tile_sample_stride_width = TILE_STEP
    if not checkpoint.sources:
        thin_convolutions(vae)
    return Models(
        checkpoint=checkpoint,
        folder=folder,
        device=device,
        tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        text_encoder=part(Gemma3ForConditionalGeneration, "text_encoder"),
        connectors=part(LTX2TextConnectors, "connectors"),
        transformer=transformer,
        vae=vae,
        upsampler=part(LTX2LatentUpsamplerModel, "latent_upsampler"),
        audio_vae=part(AutoencoderKLLTX2Audio, "audio_vae"),
        vocoder=part(LTX2Vocoder, "vocoder"),
        placement=Placement(parts, device, mode),
    )

"""Checkpoints by name: what each is, where its files come from, and whether they are here.

This module reads no weights and loads no torch, so that the command line can list checkpoints;
models.py opens them. Every checkpoint is a folder in diffusers' layout, one subfolder per part.
Sizes are of the bfloat16 files as published; see docs/decisions/0002 for the licences.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rotoscope.errors import OperatorError
from rotoscope.settings import Settings

GB = 1_000_000_000

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
    """Files of one Hugging Face repository."""

    repo: str
    patterns: tuple[str, ...]
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
    download_bytes: int
    memory_bytes: int
    """What the weights take when loaded."""
    sources: tuple[Source, ...] = ()
    """Where the files come from; empty for a checkpoint that the project makes itself."""
    refine_lora: str | None = None
    """File of the LoRA that turns the transformer into the second stage's."""
    refine_lora_scale: float = field(default=1.0)


_PARTS_OF_DEV = tuple(f"{part}/*" for part in PARTS)

CHECKPOINTS: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            name="mini",
            description="The same classes with small random weights, made here in seconds: it "
            "shows that everything runs, on any laptop; its pictures are noise.",
            licence="Apache-2.0",
            distilled=False,
            max_area=448 * 256,
            text_tokens=512,
            download_bytes=0,
            memory_bytes=GB // 2,
            refine_lora="distilled_lora.safetensors",
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
            sources=(
                Source(
                    "Lightricks/LTX-2",
                    (*_PARTS_OF_DEV, "ltx-2-19b-distilled-lora-384.safetensors"),
                ),
            ),
            refine_lora="ltx-2-19b-distilled-lora-384.safetensors",
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
            sources=(
                Source(
                    "rootonchair/LTX-2-19b-distilled",
                    tuple(f"{part}/*" for part in PARTS if part != "latent_upsampler"),
                ),
                Source("Lightricks/LTX-2", ("latent_upsampler/*",)),
            ),
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
    return settings.data_dir / "checkpoints" / name


def state_of(name: str, settings: Settings) -> tuple[str, str]:
    """Whether a checkpoint is `ready`, `missing` or `incomplete`, and a sentence about it."""
    checkpoint, folder = find_checkpoint(name), folder_of(name, settings)
    absent = missing_files(checkpoint, folder)
    if not absent:
        return "ready", f"complete in {folder}"
    if not checkpoint.sources:
        return "missing", "made on first use, in seconds"
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


def fetch_checkpoint(name: str, settings: Settings, report: Callable[[str], None]) -> Path:
    """Download what is missing of checkpoint `name`; `report` gets a line per source.

    Raises:
        OperatorError: Before any download, when there is not enough disk space, or a repository
            is gated, absent or out of reach; the text says what to do.
    """
    checkpoint, folder = find_checkpoint(name), folder_of(name, settings)
    if not checkpoint.sources:
        raise OperatorError(f"{name} is not downloaded: it is made on first use.")
    if not missing_files(checkpoint, folder):
        return folder
    _require_space(checkpoint, folder)
    for source in checkpoint.sources:
        _require_access(source)
    for source in checkpoint.sources:
        report(f"{source.repo} ({source.revision}) to {folder}")
        _download(source, folder)
    if absent := missing_files(checkpoint, folder):
        raise OperatorError(f"The download ended without {', '.join(absent[:3])}; run it again.")
    return folder


def _require_space(checkpoint: Checkpoint, folder: Path) -> None:
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    have = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    need, free = checkpoint.download_bytes - have, shutil.disk_usage(there).free
    if need > free:
        raise OperatorError(
            f"{checkpoint.name} needs {need / GB:.0f} GB more and {there} has {free / GB:.0f} GB "
            "free; set ROTOSCOPE_CHECKPOINT_DIR to a larger disk."
        )


def _require_access(source: Source) -> None:
    """Ask the hub whether the repository can be read, so that no download starts in vain."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().auth_check(source.repo)
    except GatedRepoError:
        raise OperatorError(
            f"{source.repo} is gated: accept its licence on its Hugging Face page, then set "
            "HF_TOKEN to a token of that account."
        ) from None
    except RepositoryNotFoundError:
        raise OperatorError(
            f"{source.repo} does not exist or is private; set HF_TOKEN if you have access."
        ) from None
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"Hugging Face cannot be reached ({type(error).__name__}); connect this machine or "
            f"copy the files of {source.repo} into the checkpoint's folder."
        ) from None


def _download(source: Source, folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(
            source.repo,
            revision=source.revision,
            allow_patterns=[pattern for pattern in source.patterns if "*" not in pattern]
            + [
                f"{p.removesuffix('*')}*{end}"
                for p in source.patterns
                if "*" in p
                for end in (".safetensors", ".json", ".model", ".txt")
            ],
            local_dir=folder,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OperatorError(
            f"The download of {source.repo} stopped: {error}. Run the command again to go on."
        ) from None

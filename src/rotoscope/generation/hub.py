"""Download checkpoints from Hugging Face, with the operator's own token (`HF_TOKEN`).

Whatever can be known before the first byte is said then: no space, no access, no network.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
)

from rotoscope.errors import OperatorError
from rotoscope.generation.models import opening_mode, pick_device
from rotoscope.generation.weights import (
    GB,
    Checkpoint,
    Source,
    find_checkpoint,
    folder_of,
    missing_files,
)
from rotoscope.settings import Settings


def fetch_checkpoint(
    name: str, settings: Settings, report: Callable[[str], None], *, anyway: bool = False
) -> Path:
    """Download what is missing of checkpoint `name`; `report` gets a line per source.

    Args:
        name: A name of the registry with sources.
        settings: Where the files go, and the device they are for.
        report: Told which repository is being downloaded.
        anyway: Download even if this machine has too little memory to run the checkpoint.

    Raises:
        OperatorError: Before any download, when there is not enough disk space or memory, or a
            repository is gated, absent or out of reach; the text says what to do.
    """
    checkpoint, folder = find_checkpoint(name), folder_of(name, settings)
    if not checkpoint.sources:
        raise OperatorError(f"{name} is not downloaded: it is made on first use.")
    if not missing_files(checkpoint, folder):
        return folder
    if not anyway:
        opening_mode(checkpoint, pick_device(settings), settings.memory)
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
    except (httpx2.HTTPError, OSError) as error:
        raise OperatorError(
            f"Hugging Face cannot be reached ({type(error).__name__}); connect this machine or "
            f"copy the files of {source.repo} into the checkpoint's folder."
        ) from None


def _download(source: Source, folder: Path) -> None:
    # No pickles, no pictures, no code: weights, configurations and tokenizers only.
    endings = (".safetensors", ".json", ".model", ".txt")
    patterns = [f"{part}/*{end}" for part in source.parts for end in endings]
    try:
        snapshot_download(
            source.repo,
            revision=source.revision,
            allow_patterns=[*patterns, *source.files],
            local_dir=folder,
        )
    except (httpx2.HTTPError, OSError) as error:
        raise OperatorError(
            f"The download of {source.repo} stopped: {error}. Run the command again to go on."
        ) from None

"""LoRAs that a request asks for by name: `ic_lora`, `camera_lora`, and those that ship.

A name stands for an entry as in `loras`; the checkpoint's row in weights.py says which. What is
decided here is pure; the worker fetches the files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rotoscope.errors import LoraDownloadError
from rotoscope.generation.weights import Checkpoint, shipped_loras
from rotoscope.schema.hub import HubReference
from rotoscope.schema.input import LORA_SCHEME, Lora, VideoToVideoInput
from rotoscope.settings import Settings


@dataclass(frozen=True, slots=True)
class NamedLora:
    """What a name stands for, as if it had been written in `loras`."""

    lora: Lora
    field: str
    """The input field that named it."""


def named_loras(asked: VideoToVideoInput, checkpoint: Checkpoint) -> Iterator[NamedLora]:
    """The LoRAs that act because of a name; one of scale 0 does not.

    Without a reference (`video_strength` 0) no IC-LoRA acts: there is nothing for it to look at.
    """
    control, camera = ic_lora_of(asked), asked.camera_lora
    if control is not None and asked.ic_lora_scale > 0 and asked.video_strength > 0:
        entry = Lora(path=checkpoint.ic_loras[control], scale=asked.ic_lora_scale)
        yield NamedLora(entry, "ic_lora")
    if camera != "none" and asked.camera_lora_scale > 0:
        entry = Lora(path=checkpoint.camera_loras[camera], scale=asked.camera_lora_scale)
        yield NamedLora(entry, "camera_lora")


def ic_lora_of(asked: VideoToVideoInput) -> str | None:
    """The IC-LoRA that is meant, the preprocessor's own for `match_preprocessor`."""
    name = asked.preprocessor if asked.ic_lora == "match_preprocessor" else asked.ic_lora
    return None if name == "none" else name


def is_ic_lora(path: str, checkpoint: Checkpoint) -> bool:
    """Whether `path` is a known IC-LoRA; the published files do not all say so themselves."""
    reference = HubReference.parse(path)
    return (reference.repo if reference else path) in checkpoint.ic_loras.values()


def shipped_lora(path: str, checkpoint: Checkpoint, settings: Settings, field: str) -> Path:
    """The file of `rotoscope://loras/NAME`.

    Raises:
        LoraDownloadError: The checkpoint has none of that name; the text lists those it has.
    """
    name, there = path.removeprefix(LORA_SCHEME), shipped_loras(checkpoint.name, settings)
    if name not in there:
        listed = f"it has {', '.join(there)}" if there else "none come with it"
        raise LoraDownloadError(
            f"The checkpoint {checkpoint.name} has no LoRA {name}; {listed}.", field=field
        )
    return there[name]

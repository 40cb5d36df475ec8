"""What a worker tells the server about itself: its version, checkpoint, device and memory."""

from collections.abc import Mapping
from functools import partial

import torch

from rotoscope import __version__
from rotoscope.generation.weights import Checkpoint
from rotoscope.settings import Settings
from rotoscope.worker.api import Facts

Numbers = Mapping[str, str | int | float]


def facts_of(checkpoint: Checkpoint, settings: Settings) -> Facts:
    """A function that answers the facts as they are when it is called."""
    fixed = {"version": __version__, "checkpoint": checkpoint.name}
    on_gpu = is_on_gpu(settings)
    return partial(_gpu_facts, fixed) if on_gpu else partial(dict, fixed, device="cpu")


def is_on_gpu(settings: Settings) -> bool:
    return settings.device != "cpu" and torch.cuda.is_available()


def _gpu_facts(fixed: Numbers) -> Numbers:
    """With the memory of this process's current device, in bytes."""
    free, total = torch.cuda.mem_get_info()
    return {
        **fixed,
        "device": torch.cuda.get_device_name(),
        "gpu_memory_used_bytes": total - free,
        "gpu_memory_total_bytes": total,
    }

"""The second process of ranks.py: rows of the transformer, or halves, until its input ends."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from rotoscope.generation.loras import LoraFile, merged, open_lora
from rotoscope.generation.models import Models, open_models
from rotoscope.generation.peers import HELPER, WORKER, join, receive, send
from rotoscope.generation.sequence_parallel import forward_half
from rotoscope.settings import Settings

STDOUT, STDERR = 1, 2


@torch.inference_mode()
def help_out() -> None:
    """Open what the first line names, then do what each further line says."""
    words = json.loads(sys.stdin.readline())
    models = open_models(Settings(**words["settings"], memory="resident"))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # What a library may print later is for the log.
    os.dup2(STDERR, STDOUT)
    join(**words["meet"], rank=HELPER)
    with ExitStack() as worn:
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["do"] == "dress":
                worn.close()
                dress(worn, models.transformer, asked["loras"])
            else:
                take = compute_half if asked["half"] else compute
                take(models.transformer, receive_all(asked["tensors"], models) | asked["plain"])


def dress(worn: ExitStack, transformer: Any, files: Sequence[tuple[str, float]]) -> None:
    loras = [
        open_lora(LoraFile(Path(path), path, scale, sha256=""), transformer)
        for path, scale in files
    ]
    worn.enter_context(merged(transformer, loras))


def receive_all(names: Sequence[str], models: Models) -> dict[str, Any]:
    return {name: receive(WORKER).to(models.device) for name in names}


def compute(transformer: Any, inputs: Mapping[str, Any]) -> None:
    """Send back what the transformer makes of a row."""
    made = transformer(**inputs)
    send(made.sample, WORKER)
    send(made.audio_sample, WORKER)


def compute_half(transformer: Any, inputs: Mapping[str, Any]) -> None:
    forward_half(transformer, transformer.forward, HELPER, inputs)


if __name__ == "__main__":
    help_out()

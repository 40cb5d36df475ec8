"""The second process of ranks.py: it computes rows of the transformer until its input ends."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from rotoscope.generation.loras import LoraFile, merged, open_lora
from rotoscope.generation.models import open_models
from rotoscope.generation.ranks import HELPER, WORKER, join, receive, send
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
    join(words["meet"], HELPER)
    with ExitStack() as worn:
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["do"] == "dress":
                worn.close()
                dress(worn, models.transformer, asked["loras"])
            else:
                compute(models.transformer, asked["tensors"], asked["plain"])


def dress(worn: ExitStack, transformer: Any, files: Sequence[tuple[str, float]]) -> None:
    loras = [
        open_lora(LoraFile(Path(path), path, scale, sha256=""), transformer)
        for path, scale in files
    ]
    worn.enter_context(merged(transformer, loras))


def compute(transformer: Any, names: Sequence[str], plain: Mapping[str, Any]) -> None:
    """Take a row's tensors and send back what the transformer makes of them."""
    device = next(transformer.parameters()).device
    tensors = {name: receive(WORKER).to(device) for name in names}
    made = transformer(**tensors, **plain)
    send(made.sample, WORKER)
    send(made.audio_sample, WORKER)


if __name__ == "__main__":
    help_out()

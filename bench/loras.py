"""What LoRAs cost: seconds to change from one set to the next, and of a step with and without them.

    python -m bench.loras [--layers 4] [--heads 8] [--rank 32] [--loras 2] [--swaps 5]
        [--tokens 512] [--device cpu] [--dtype float32]

Rotoscope merges them into the weights; beside it, in the same run and on the same files, diffusers'
adapters: load_lora_weights and set_adapters through peft, not fused. These change faster between
LoRAs that all stay loaded, and pay for it in each step. The transformer is LTX-2's
class with random weights; LTX-2 19B's shape is --layers 48 --heads 32 --head-width 128. With the
defaults it takes about a minute on two cores.
"""

import argparse
import copy
import os
import platform
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2InContextPipeline, LTX2VideoTransformer3DModel
from diffusers.utils import logging
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import nn

from rotoscope.generation.loras import LoraFile, merged, open_lora

SCALE = 0.8
PACKAGES = ("rotoscope", "torch", "diffusers", "peft")
Step = Callable[[nn.Module], None]
Sets = tuple[list[LoraFile], list[LoraFile]]
"""Two sets of LoRAs to change between."""


def main() -> None:
    options = read_options()
    torch.manual_seed(0)
    logging.set_verbosity_error()
    ours = make_transformer(options)
    theirs = copy.deepcopy(ours)
    step = make_step(options)
    with tempfile.TemporaryDirectory(prefix="rotoscope-bench-") as folder, torch.inference_mode():
        sets = make_sets(ours, options, Path(folder))
        plain_s = median(lambda: step(ours), options)
        seconds = {
            "rotoscope": measure_ours(ours, sets, step, options),
            "diffusers": measure_theirs(theirs, sets, step, options),
        }
    console = Console(highlight=False)
    console.print(table(seconds, plain_s))
    console.print(scene(options), markup=False, soft_wrap=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds to change LoRAs, and what a step costs.")
    defaults = {"layers": 4, "heads": 8, "head-width": 64, "rank": 32, "loras": 2}
    for name, default in (defaults | {"swaps": 5, "tokens": 512}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    return parser.parse_args()


def make_transformer(options: argparse.Namespace) -> nn.Module:
    heads, width = options.heads, options.head_width
    with torch.device(options.device):
        made = LTX2VideoTransformer3DModel(
            num_attention_heads=heads,
            attention_head_dim=width,
            cross_attention_dim=heads * width,
            audio_num_attention_heads=heads,
            audio_attention_head_dim=width // 2,
            audio_cross_attention_dim=heads * width // 2,
            num_layers=options.layers,
            rope_type="split",
        )
    return made.to(getattr(torch, options.dtype)).eval()


def make_step(options: argparse.Namespace) -> Step:
    """One forward of `options.tokens` tokens of video, with sound and text."""
    kind = {"device": options.device, "dtype": getattr(torch, options.dtype)}
    frames, side = options.tokens // 64, 8
    inputs = {
        "hidden_states": torch.randn(1, frames * side * side, 128, **kind),
        "audio_hidden_states": torch.randn(1, 25, 128, **kind),
        "encoder_hidden_states": torch.randn(1, 128, 3840, **kind),
        "audio_encoder_hidden_states": torch.randn(1, 128, 3840, **kind),
        "timestep": torch.full((1, 1), 500.0, **kind),
        "num_frames": frames,
        "height": side,
        "width": side,
        "audio_num_frames": 25,
    }
    return lambda model: model(**inputs)


def make_sets(model: nn.Module, options: argparse.Namespace, folder: Path) -> Sets:
    """Two sets of LoRAs on every linear layer of the blocks, as official files name them."""
    files = []
    for i in range(2 * options.loras):
        tensors = {}
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Linear) and name.startswith("transformer_blocks."):
                down = torch.randn(options.rank, layer.in_features)
                up = torch.randn(layer.out_features, options.rank) * 1e-3
                tensors[f"diffusion_model.{name}.lora_A.weight"] = down.bfloat16()
                tensors[f"diffusion_model.{name}.lora_B.weight"] = up.bfloat16()
        path = folder / f"set{i}.safetensors"
        save_file(tensors, path)
        files.append(LoraFile(path, path.name, SCALE, sha256=""))
    return files[: options.loras], files[options.loras :]


def measure_ours(
    model: nn.Module, sets: Sets, step: Step, options: argparse.Namespace
) -> dict[str, float]:
    def from_files(files: list[LoraFile]) -> None:
        with merged(model, [open_lora(file, model) for file in files]):
            pass

    opened = [[open_lora(file, model) for file in files] for files in sets]

    def from_memory(number: int) -> None:
        with merged(model, opened[number]):
            pass

    seconds = {
        "swap, from files": median(alternate(from_files, sets), options),
        "swap, opened before": median(alternate(from_memory, (0, 1)), options),
    }
    with merged(model, opened[0]):
        return seconds | {"step": median(lambda: step(model), options)}


def measure_theirs(
    model: nn.Module, sets: Sets, step: Step, options: argparse.Namespace
) -> dict[str, float]:
    absent = ("scheduler", "vae", "audio_vae", "text_encoder", "tokenizer", "connectors", "vocoder")
    pipe = LTX2InContextPipeline(transformer=model, **dict.fromkeys(absent))

    def load(files: list[LoraFile]) -> None:
        for file in files:
            pipe.load_lora_weights(
                file.path.parent, weight_name=file.path.name, adapter_name=file.path.stem
            )

    def choose(files: list[LoraFile]) -> None:
        pipe.set_adapters([file.path.stem for file in files], [file.scale for file in files])

    def from_files(files: list[LoraFile]) -> None:
        load(files)
        choose(files)
        pipe.unload_lora_weights()

    with quiet():
        seconds = {"swap, from files": median(alternate(from_files, sets), options)}
        load([*sets[0], *sets[1]])
        seconds["swap, opened before"] = median(alternate(choose, sets), options)
        choose(sets[0])
        return seconds | {"step": median(lambda: step(model), options)}


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def alternate(change: Callable[[Any], None], sets: tuple[Any, Any]) -> Callable[[], None]:
    turn = 0

    def swap() -> None:
        nonlocal turn
        turn += 1
        change(sets[turn % 2])

    return swap


def median(work: Callable[[], None], options: argparse.Namespace) -> float:
    """Seconds of `work`, the first time left out."""
    found = []
    for _ in range(options.swaps + 1):
        started = time.perf_counter()
        work()
        if options.device != "cpu":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


def table(seconds: dict[str, dict[str, float]], plain_s: float) -> Table:
    """Medians, and how many times ours diffusers takes; a step also against one without LoRAs."""
    ours, theirs = seconds["rotoscope"], seconds["diffusers"]
    shown = Table("", "rotoscope s", "diffusers s", "diffusers / rotoscope", title_style="")
    shown.add_row("step without LoRAs", f"{plain_s:.3f}", "", "")
    for part, taken in ours.items():
        other = theirs[part]
        shown.add_row(part, f"{taken:.3f}", f"{other:.3f}", f"{other / taken:.2f}")
    with_s, their_with_s = ours["step"] / plain_s, theirs["step"] / plain_s
    shown.add_row("step / one without", f"{with_s:.2f}", f"{their_with_s:.2f}", "")
    return shown


def scene(options: argparse.Namespace) -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    chosen = ", ".join(f"{name} {value}" for name, value in vars(options).items())
    return (
        f"commit {commit or 'unknown'}; {platform.machine()}, {len(os.sched_getaffinity(0))} "
        f"cores, load {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, {versions}; {chosen}"
    )


if __name__ == "__main__":
    main()

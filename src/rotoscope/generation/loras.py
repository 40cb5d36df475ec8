"""LoRA files: read, checked against the model, merged into its weights, and taken out again.

A LoRA changes a weight W to W + scale * (alpha / rank) * B A. Files name the layers in several
dialects; all are brought to the names of diffusers' transformer. A file that is not safetensors,
or fits nothing, is refused with the reason. Merging is done in float32 from weights that are put
back afterwards as they were, so that no sequence of jobs changes the model by a bit.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rotoscope.errors import LoraIncompatibleError
from rotoscope.generation.models import memory_of

MAX_HEADER_BYTES = 10_000_000
MAX_TENSORS = 20_000
DOWNSCALE_KEY = "reference_downscale_factor"

_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
_SUFFIX = re.compile(
    r"\.(?:(?P<down>lora_A|lora_down)|(?P<up>lora_B|lora_up))(?:\.default)?(?:\.weight)?$"
    r"|\.(?P<alpha>alpha)$"
)
# Other decompositions than A and B, and the part of a key that gives them away.
_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "oft_": "OFT",
}
# Lightricks' names of layers, where diffusers has others.
_LAYER_NAMES = {
    "patchify_proj": "proj_in",
    "audio_patchify_proj": "audio_proj_in",
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
}


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A LoRA that was asked for, now a file here."""

    path: Path
    ref: str
    """What the caller wrote."""
    scale: float
    sha256: str
    field: str = "loras"
    """The input field it came from, such as `loras.0.path`."""
    in_context: bool = False
    """Known to be an IC-LoRA, whatever its metadata says."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The change of one weight: up_OR @ down_RI."""

    down_RI: Tensor
    up_OR: Tensor
    weight: float
    """scale * alpha / rank"""


@dataclass(frozen=True, slots=True)
class Lora:
    """An opened LoRA: what it does to each layer, by the layer's name in the transformer."""

    file: LoraFile
    deltas: Mapping[str, Delta]
    unmatched: tuple[str, ...]
    """Layers the file names that the model does not have."""
    in_context: bool
    """Made for reference tokens; it acts in the passes that have them."""
    reference_downscale_factor: int = 1
    """How many times smaller than the video it wants that reference."""

    @property
    def rank(self) -> int:
        return max(len(delta.down_RI) for delta in self.deltas.values())


def open_lora(file: LoraFile, model: nn.Module) -> Lora:
    """Read `file` and fit it to the linear layers of `model`.

    Raises:
        LoraIncompatibleError: It is no safetensors file, of an unsupported kind, damaged, or made
            for another model.
    """
    _require_safetensors(file)
    try:
        with safe_open(file.path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise _incompatible(file, f"it is damaged ({error})") from None
    parts = _group(file, tensors)
    layers = {name: one for name, one in model.named_modules() if isinstance(one, nn.Linear)}
    names = {layer: _match(layer, layers) for layer in parts}
    deltas = {
        name: _delta(file, layer, parts[layer], layers[name])
        for layer, name in names.items()
        if name is not None
    }
    if not deltas:
        raise _incompatible(
            file,
            f"none of its {len(parts)} layers is in this model; the first is {next(iter(parts))}",
        )
    unmatched = tuple(layer for layer, name in names.items() if name is None)
    return Lora(
        file, deltas, unmatched, _in_context(file, metadata), _downscale_factor(file, metadata)
    )


def wanted_downscale(file: LoraFile) -> int | None:
    """How many times smaller than the video an IC-LoRA wants its reference; None: it is none.

    Reads the header alone. Raises LoraIncompatibleError as open_lora does.
    """
    _require_safetensors(file)
    try:
        with safe_open(file.path, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise _incompatible(file, f"it is damaged ({error})") from None
    return _downscale_factor(file, metadata) if _in_context(file, metadata) else None


@contextmanager
def merged(model: nn.Module, loras: Sequence[Lora]) -> Iterator[None]:
    """Within this context, `model` has `loras` in its weights; afterwards it is as before.

    The weights as they were wait on the model's device where they fit beside the merged ones, else
    in the machine's memory.
    """
    names = list(dict.fromkeys(name for lora in loras for name in lora.deltas))
    weights = {name: _weight(model, name) for name in names}
    roomy = _fit_twice(list(weights.values()))
    pristine: dict[str, Tensor] = {}
    try:
        for name, weight in weights.items():
            deltas = [lora.deltas[name] for lora in loras if name in lora.deltas]
            changed = _merge(weight.data, deltas)
            if roomy:
                pristine[name], weight.data = weight.data, changed
            else:
                pristine[name] = weight.data.to("cpu", copy=True)
                weight.data.copy_(changed)
        yield
    finally:
        for name, data in pristine.items():
            if roomy:
                weights[name].data = data
            else:
                weights[name].data.copy_(data)


def _fit_twice(weights: Sequence[nn.Parameter]) -> bool:
    """Whether a second copy of `weights` leaves half of the free memory for the generation."""
    if not weights:
        return True
    size = sum(weight.nbytes for weight in weights)
    return 2 * size <= memory_of(weights[0].device)


def _weight(model: nn.Module, name: str) -> nn.Parameter:
    """The weight of a linear layer, which is what open_lora matches."""
    weight = model.get_submodule(name).weight
    assert isinstance(weight, nn.Parameter)  # noqa: S101 - for the type checker
    return weight


def _merge(weight: Tensor, deltas: Sequence[Delta]) -> Tensor:
    total = weight.float()
    for delta in deltas:
        up, down = delta.up_OR.to(total), delta.down_RI.to(total)
        total = torch.addmm(total, up, down, alpha=delta.weight)
    return total.to(weight.dtype)


def _incompatible(file: LoraFile, reason: str) -> LoraIncompatibleError:
    return LoraIncompatibleError(f"The LoRA {file.ref} cannot be used: {reason}.", field=file.field)


def _require_safetensors(file: LoraFile) -> None:
    """Look at the first bytes before any library does."""
    with file.path.open("rb") as stream:
        head = stream.read(9)
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise _incompatible(
            file, "it is a pickle, which could run code; pass the .safetensors version"
        )
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{":  # noqa: PLR2004 - eight bytes of length, then JSON
        raise _incompatible(file, "it is not a safetensors file")
    if length > min(MAX_HEADER_BYTES, file.path.stat().st_size):
        raise _incompatible(file, f"its header claims {length} bytes")
    _require_few_tensors(file, length)


def _require_few_tensors(file: LoraFile, length: int) -> None:
    with file.path.open("rb") as stream:
        stream.seek(8)
        try:
            count = len(json.loads(stream.read(length)))
        except (ValueError, TypeError, RecursionError):
            raise _incompatible(file, "its header is not JSON") from None
    if count > MAX_TENSORS:
        raise _incompatible(file, f"it has {count} tensors; at most {MAX_TENSORS} are read")


def _group(file: LoraFile, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each layer as `down`, `up` and perhaps `alpha`, by the file's own names."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        for mark, kind in _OTHER_KINDS.items():
            if mark in key:
                raise _incompatible(file, f"it is a {kind} file; only LoRA is supported")
        if (suffix := _SUFFIX.search(key)) is None:
            raise _incompatible(file, f"{key} is not a tensor of a LoRA")
        parts.setdefault(key[: suffix.start()], {})[str(suffix.lastgroup)] = tensor
    if not parts:
        raise _incompatible(file, "it holds no tensors")
    return parts


def _match(layer: str, layers: Mapping[str, nn.Linear]) -> str | None:
    """The model's name of a file's layer, or None."""
    if layer.startswith("lora_unet_"):  # kohya writes dots as underscores
        flat = layer.removeprefix("lora_unet_")
        return next((name for name in layers if name.replace(".", "_") == flat), None)
    for prefix in _PREFIXES:
        layer = layer.removeprefix(prefix)
    first, dot, rest = layer.partition(".")
    name = _LAYER_NAMES.get(first, first) + dot + rest
    return name if name in layers else None


def _delta(file: LoraFile, layer: str, parts: Mapping[str, Tensor], linear: nn.Linear) -> Delta:
    if not {"down", "up"} <= parts.keys():
        raise _incompatible(file, f"{layer} has only one of its two matrices")
    down, up = parts["down"], parts["up"]
    rank = down.shape[0] if down.ndim else 0
    fits = down.shape == (rank, linear.in_features) and up.shape == (linear.out_features, rank)
    if not fits or not rank:
        raise _incompatible(
            file,
            f"{layer} has shapes {tuple(up.shape)} and {tuple(down.shape)} where the model has "
            f"{linear.out_features} x {linear.in_features}; it was made for another model",
        )
    if not (down.is_floating_point() and up.is_floating_point()):
        raise _incompatible(file, f"{layer} does not hold floating-point numbers")
    if not (down.float().isfinite().all() and up.float().isfinite().all()):
        raise _incompatible(file, f"{layer} holds values that are not finite")
    alpha = float(parts["alpha"]) if "alpha" in parts else float(rank)
    return Delta(down, up, file.scale * alpha / rank)


def _in_context(file: LoraFile, metadata: Mapping[str, str]) -> bool:
    """IC-LoRAs say by which factor their reference is smaller, or are known by name."""
    return file.in_context or DOWNSCALE_KEY in metadata


def _downscale_factor(file: LoraFile, metadata: Mapping[str, str]) -> int:
    factor = metadata.get(DOWNSCALE_KEY, "1")
    if not re.fullmatch(r"[1-9]\d{0,3}", factor):
        raise _incompatible(file, f"its {DOWNSCALE_KEY} is {factor[:20]!r}, not a whole number")
    return int(factor)

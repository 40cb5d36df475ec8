"""LoRA files: read, checked against the model, merged into its weights, and taken out again.

A LoRA changes a weight W to W + scale * (alpha / rank) * B A. Files name the layers in several
dialects; all are brought to the names of diffusers' transformer. A file that is not safetensors,
or fits nothing, is refused with the reason. Merging is done in float32 from weights that are put
back afterwards as they were, so that no sequence of jobs changes the model by a bit.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rotoscope.errors import LoraIncompatibleError
from rotoscope.generation.lora_family import NEWER, family_of
from rotoscope.generation.lora_header import Header, NotALoraError, read_header, shown
from rotoscope.generation.models import memory_of
from rotoscope.schema.hub import HubReference

NAMED = 3
DOWNSCALE_KEY = "reference_downscale_factor"

_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
# kohya's tools write a layer's dots as underscores.
_FLAT_PREFIXES = ("lora_unet_", "lora_transformer_")
_SUFFIX = re.compile(
    r"\.(?:(?P<down>lora_A|lora_down|lora\.down)|(?P<up>lora_B|lora_up|lora\.up))"
    r"(?:\.(?!weight$)\w+)?(?:\.weight)?$"
    r"|\.(?P<alpha>alpha)$"
)
# Other decompositions than A and B, and the part of a key that gives them away.
_OTHER_KINDS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lokr_": "LoKr",
    "hada_": "LoHa",
    "oft_": "OFT",
    "boft_": "OFT",
    "vera_lambda": "VeRA",
}
# The last part of a layer's name where trainers have others than diffusers.
_LAST_NAMES = {
    **{f"{one}{tail}": f"to_{one}" for one in "qkv" for tail in ("", "_proj")},
    **dict.fromkeys(("o", "o_proj", "out_proj", "to_out"), "to_out.0"),
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
    origin: HubReference | None = None
    """The commit and the file, of one from Hugging Face."""


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
        """Of its largest layer; they may differ."""
        return max(len(delta.down_RI) for delta in self.deltas.values())


def open_lora(file: LoraFile, model: nn.Module) -> Lora:
    """Read `file` and fit it to the linear layers of `model`.

    Raises:
        LoraIncompatibleError: It is no safetensors file, of an unsupported kind, damaged, or made
            for another model.
    """
    header = _header(file)
    parts = _group(file, header)
    layers = {name: one for name, one in model.named_modules() if isinstance(one, nn.Linear)}
    names = _match_all(file, parts, layers)
    if not names:
        raise _made_for_another(
            file, header, parts, f"none of its {len(parts)} layers is in this model"
        )
    if newer := next((one for one in parts if one not in names and NEWER.search(one)), None):
        raise _made_for_another(file, header, parts, f"this model has no {shown(newer)}")
    for layer, name in names.items():
        _require_fit(file, header, parts, layer, layers[name])
    return Lora(
        file,
        _read(file, {name: parts[layer] for layer, name in names.items()}),
        tuple(layer for layer in parts if layer not in names),
        _in_context(file, header.metadata),
        _downscale_factor(file, header.metadata),
    )


def wanted_downscale(file: LoraFile) -> int | None:
    """How many times smaller than the video an IC-LoRA wants its reference; None: it is none.

    Reads the header alone. Raises LoraIncompatibleError as open_lora does.
    """
    metadata = _header(file).metadata
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


def _header(file: LoraFile) -> Header:
    try:
        return read_header(file.path)
    except NotALoraError as reason:
        raise _incompatible(file, str(reason)) from None


# The tensors of one layer by what they are, `down`, `up` and perhaps `alpha`: the file's keys.
_Parts = Mapping[str, str]


def _group(file: LoraFile, header: Header) -> dict[str, dict[str, str]]:
    """The parts of each layer, by the file's own names of the layers."""
    parts: dict[str, dict[str, str]] = {}
    for key in header.shapes:
        for mark, kind in _OTHER_KINDS.items():
            if mark in key:
                raise _incompatible(file, f"it is a {kind} file; only LoRA is supported")
        if (suffix := _SUFFIX.search(key)) is None:
            raise _incompatible(file, f"{shown(key)} is not a tensor of a LoRA")
        layer, part = key[: suffix.start()], str(suffix.lastgroup)
        if (other := parts.setdefault(layer, {}).setdefault(part, key)) != key:
            raise _incompatible(file, f"{shown(other)} and {shown(key)} are the same matrix")
    if not parts:
        raise _incompatible(file, "it holds no tensors")
    for layer, found in parts.items():
        if not {"down", "up"} <= found.keys():
            raise _incompatible(file, f"{shown(layer)} has only one of its two matrices")
    return parts


def _match_all(
    file: LoraFile, layers: Mapping[str, _Parts], there: Mapping[str, nn.Linear]
) -> dict[str, str]:
    """The model's name of each of the file's layers that the model has."""
    flat = {name.replace(".", "_"): name for name in there}
    names: dict[str, str] = {}
    for layer in layers:
        if (name := _match(layer, there, flat)) is None:
            continue
        if name in names.values():
            raise _incompatible(file, f"it has {name} twice, under different names")
        names[layer] = name
    return names


def _match(layer: str, there: Mapping[str, nn.Linear], flat: Mapping[str, str]) -> str | None:
    for prefix in _FLAT_PREFIXES:
        if layer.startswith(prefix):
            return _match_flat(layer.removeprefix(prefix), flat)
    for prefix in _PREFIXES:
        layer = layer.removeprefix(prefix)
    first, dot, rest = layer.partition(".")
    name = _LAYER_NAMES.get(first, first) + dot + rest
    head, dot, last = name.rpartition(".")
    candidates = (name, head + dot + _LAST_NAMES.get(last, last))
    return next((one for one in candidates if one in there), None)


def _match_flat(layer: str, flat: Mapping[str, str]) -> str | None:
    candidates = [layer]
    for theirs, ours in _LAYER_NAMES.items():
        if layer == theirs or layer.startswith(f"{theirs}_"):
            candidates.append(ours + layer.removeprefix(theirs))
    return next((flat[one] for one in candidates if one in flat), None)


def _require_fit(
    file: LoraFile,
    header: Header,
    layers: Mapping[str, _Parts],
    layer: str,
    linear: nn.Linear,
) -> None:
    """Compare a layer's shapes with the model's, before anything of it is read."""
    parts = layers[layer]
    down, up = header.shapes[parts["down"]], header.shapes[parts["up"]]
    rank = down[0] if down else 0
    if not rank or down != (rank, linear.in_features) or up != (linear.out_features, rank):
        raise _made_for_another(
            file,
            header,
            layers,
            f"{shown(layer)} has shapes {up} and {down} where the model has "
            f"{linear.out_features} x {linear.in_features}",
        )
    if "alpha" in parts and math.prod(header.shapes[parts["alpha"]]) != 1:
        raise _incompatible(file, f"{shown(parts['alpha'])} is not one number")


def _made_for_another(
    file: LoraFile, header: Header, layers: Mapping[str, _Parts], reason: str
) -> LoraIncompatibleError:
    shapes = {
        layer: [header.shapes[key] for key in parts.values()] for layer, parts in layers.items()
    }
    family = family_of(shapes, header.metadata)
    looks = f", by its looks for {family}" if family else ""
    first = ", ".join(shown(layer) for layer in list(layers)[:NAMED])
    return _incompatible(
        file, f"{reason}; it was made for another model{looks} (its first layers: {first})"
    )


def _read(file: LoraFile, layers: Mapping[str, _Parts]) -> dict[str, Delta]:
    """The matrices of the layers that fit, by the model's names; no others are read."""
    try:
        with safe_open(file.path, framework="pt") as opened:
            tensors = {
                name: {part: opened.get_tensor(key) for part, key in parts.items()}
                for name, parts in layers.items()
            }
    except SafetensorError as error:
        raise _incompatible(file, f"it is damaged ({error})") from None
    return {name: _delta(file, name, parts) for name, parts in tensors.items()}


def _delta(file: LoraFile, name: str, parts: Mapping[str, Tensor]) -> Delta:
    for part, tensor in parts.items():
        if not tensor.float().isfinite().all():
            raise _incompatible(file, f"{name} holds values that are not finite ({part})")
    down, up = parts["down"], parts["up"]
    rank = len(down)
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

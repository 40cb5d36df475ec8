"""Weights in little space: zeros are left out where most of a tensor is zeros.

A tensor `name` is stored whole, or as `name:values` and `name:places`, the flat indices of its
values, with its shape in the file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

# A place takes four bytes and a value two or four.
SPARSE = 0.25


def save_packed(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write `tensors`, each in its own type."""
    stored: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        places = tensor.flatten().nonzero().flatten()
        if len(places) > SPARSE * tensor.numel():
            stored[name] = tensor.contiguous()
            continue
        shapes[name] = list(tensor.shape)
        stored[f"{name}:places"] = places.int()
        stored[f"{name}:values"] = tensor.flatten()[places].contiguous()
    save_file(stored, path, metadata={"shapes": json.dumps(shapes)})


def load_packed(path: Path) -> dict[str, Tensor]:
    """The same tensors, in float32."""
    with safe_open(path, framework="pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
        names = file.keys()
        whole = {name: file.get_tensor(name).float() for name in names if ":" not in name}
        for name, shape in shapes.items():
            tensor = torch.zeros(shape)
            places = file.get_tensor(f"{name}:places").long()
            tensor.flatten()[places] = file.get_tensor(f"{name}:values").float()
            whole[name] = tensor
    return whole

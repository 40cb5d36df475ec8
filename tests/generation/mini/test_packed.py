"""Packed weights: the same tensors again, in less space where most of one is zeros."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from rotoscope.generation.mini.packed import load_packed, save_packed


def sparse(kind: torch.dtype) -> Tensor:
    """One value in a hundred, the first and the last among them."""
    tensor = torch.zeros(20, 50, dtype=kind)
    tensor.view(-1)[::111] = torch.arange(1, 11).to(kind) / 8
    tensor[19, 49] = -3
    return tensor


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_what_was_packed_comes_back(tmp_path: Path, kind: torch.dtype) -> None:
    """Whole, sparse and empty tensors, of any shape, in float32."""
    rng = torch.Generator().manual_seed(1)
    tensors = {
        "whole.weight": torch.randn((3, 4, 5), generator=rng).to(kind),
        "turned.weight": torch.randn((6, 7), generator=rng).to(kind).T,
        "sparse.weight": sparse(kind),
        "zeros.bias": torch.zeros(1000, dtype=kind),
        "single": torch.tensor(0.5, dtype=kind),
    }

    save_packed(tensors, tmp_path / "a.safetensors")
    again = load_packed(tmp_path / "a.safetensors")

    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == torch.float32
        assert torch.equal(again[name], tensor.float())


def test_zeros_and_half_precision_save_space(tmp_path: Path) -> None:
    """A tensor of ten thousand values, one in a hundred of them other than 0."""
    tensor = torch.zeros(100, 100)
    tensor[:, 0] = 1

    sizes = {}
    for name, given in {"dense": tensor + 1, "single": tensor, "half": tensor.half()}.items():
        save_packed({"a": given}, tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size

    assert sizes["dense"] > 4 * tensor.numel()
    assert sizes["single"] - sizes["half"] == 2 * 100
    assert sizes["half"] < sizes["single"] < 1200

"""Convolutions without their zeros answer as before."""

import pytest
import torch
from torch import nn

from rotoscope.generation.mini.thin import ThinConv3d, thin_convolutions

ALL, MIDDLE = slice(None), slice(1, 2)


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
@pytest.mark.parametrize(
    ("times", "space", "kernel"),
    [
        (slice(2, 3), MIDDLE, (1, 1, 1)),
        (slice(1, 2), MIDDLE, (1, 1, 1)),
        (slice(1, 3), MIDDLE, (2, 1, 1)),
        (slice(1, 2), ALL, (1, 3, 3)),
        (slice(0, 2), ALL, (2, 3, 3)),
        (slice(0, 0), MIDDLE, (1, 1, 1)),
    ],
    ids=["last", "middle", "two in time", "plane", "two planes", "all zeros"],
)
def test_the_answer_stays(
    times: slice, space: slice, kernel: tuple[int, int, int], padding_mode: str
) -> None:
    """With fewer taps, for each way in which mini's codec leaves some out."""
    model = conv_of(times, space, padding_mode)
    hidden = torch.randn((1, 4, 5, 6, 7), generator=torch.Generator().manual_seed(2))
    expected = model(hidden)

    thin_convolutions(model)

    assert isinstance(model[0], ThinConv3d)
    assert model[0].conv.kernel_size == kernel
    torch.testing.assert_close(model(hidden), expected)


def test_a_full_convolution_is_left_alone() -> None:
    model = conv_of(ALL, ALL, "zeros")
    before = model[0]

    thin_convolutions(model)

    assert model[0] is before


def conv_of(times: slice, space: slice, padding_mode: str) -> nn.Sequential:
    """Zero outside these taps; padded in space alone, as in LTX-2's codec."""
    torch.manual_seed(1)
    conv = nn.Conv3d(4, 3, 3, padding=(0, 1, 1), padding_mode=padding_mode).requires_grad_(
        requires_grad=False
    )
    used = torch.zeros(3, 3, 3)
    used[times, space, space] = 1
    conv.weight.mul_(used)
    return nn.Sequential(conv)

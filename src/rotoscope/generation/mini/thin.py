"""Leave out the parts of convolutions that are zero: mini's codec is nearly all zeros.

I, O  channels in and out    T, H, W  taps of a kernel along time, height and width
"""

from torch import Tensor, nn


class ThinConv3d(nn.Module):
    """A 3 x 3 x 3 convolution of which some outer taps are zero, without them."""

    def __init__(self, conv: nn.Conv3d, first: int, last: int, *, pointwise: bool) -> None:
        """`first` to `last`: the taps along time; `pointwise`: in space only the middle one."""
        super().__init__()
        self.first, self.beyond = first, conv.kernel_size[0] - 1 - last
        weight_OITHW = conv.weight[:, :, first : last + 1]
        if pointwise:
            weight_OITHW = weight_OITHW[..., 1:2, 1:2]
        time, height, width = weight_OITHW.shape[2:]
        self.conv = nn.Conv3d(
            conv.in_channels,
            conv.out_channels,
            (time, height, width),
            padding=(0, height // 2, width // 2),
            padding_mode=conv.padding_mode,
            device="meta",
        )
        self.conv.weight = nn.Parameter(weight_OITHW.contiguous(), requires_grad=False)
        self.conv.bias = conv.bias

    def forward(self, hidden_BITHW: Tensor) -> Tensor:
        last = hidden_BITHW.shape[2] - self.beyond
        thinned: Tensor = self.conv(hidden_BITHW[:, :, self.first : last])
        return thinned


def thin_convolutions(model: nn.Module) -> None:
    """Replace each convolution of `model` in place where that saves work; answers stay the same."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv3d) and child.kernel_size == (3, 3, 3):
                setattr(parent, name, _thinned(child))


def _thinned(conv: nn.Conv3d) -> nn.Module:
    used_THW = conv.weight.flatten(0, 1).ne(0).any(0)
    times = used_THW.any(2).any(1).nonzero().flatten().tolist() or [1]
    in_space_HW = used_THW.any(0)
    in_space_HW[1, 1] = False
    whole = len(times) == conv.kernel_size[0] and bool(in_space_HW.any())
    if whole or conv.stride != (1, 1, 1):
        return conv
    return ThinConv3d(conv, times[0], times[-1], pointwise=not bool(in_space_HW.any()))

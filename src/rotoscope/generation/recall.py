"""What was made of a prompt or a clip before: kept by content, within a bound, in memory alone.

What comes back is what was put in, so no bit of a result changes.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from rotoscope.media.clip import Frames


class Recall:
    """Tensors by what they were made from; the least recently used are forgotten first."""

    def __init__(self, most_bytes: int, device: torch.device) -> None:
        """They wait in the machine's memory, and come back on `device`.

        `most_bytes` is what they may take together; 0 keeps nothing.
        """
        self.most_bytes = most_bytes
        self._device = device
        self._kept: OrderedDict[Hashable, tuple[Tensor, ...]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `make` made for `key` last time; else what it makes now."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return tuple(tensor.to(self._device) for tensor in self._kept[key])
        made = make()
        self._kept[key] = tuple(tensor.cpu() for tensor in made)
        while self.taken > self.most_bytes:
            self._kept.popitem(last=False)
        return made

    @property
    def taken(self) -> int:
        """Bytes of all that is kept."""
        return sum(tensor.nbytes for made in self._kept.values() for tensor in made)


def digest(frames: Frames) -> str:
    """The same for the same pictures, and for no others."""
    told = hashlib.blake2b(repr(frames.shape).encode(), digest_size=32)
    told.update(frames.tobytes() if not frames.flags.c_contiguous else frames.data)
    return told.hexdigest()

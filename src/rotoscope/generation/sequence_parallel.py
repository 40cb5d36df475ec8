"""Sequence parallelism: two processes compute one guess together, each for half of the video.

All that a token goes through is its own, but where video is attended to: there both processes swap
keys and values, so that each has those of all tokens for the queries of its half. Sound is short;
both compute all of it. Two processes do the same in the same order, so nothing else is agreed on.

    B  rows of the batch    N  tokens of the video    C  channels
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from rotoscope.generation.peers import WORKER, swap
from rotoscope.generation.timesteps import replaced

Forward = Callable[..., Any]
READ_WITH = {"attn1": "rope", "video_to_audio_attn": "cross_attn_rope"}
"""What attends to video, and the rotary embedding that places what it reads."""


class Half:
    """The worker has the first half of the tokens, the helper the rest."""

    def __init__(self, tokens: int, rank: int) -> None:
        middle = tokens // 2
        self._rank = rank
        self._mine = (slice(0, middle), slice(middle, tokens))[rank]
        self._others = (tokens - middle, middle)[rank]

    def cut(self, tensor: Tensor, dim: int = 1) -> Tensor:
        """This process's tokens of all."""
        return tensor.movedim(dim, 0)[self._mine].movedim(0, dim)

    def whole(self, mine_BNC: Tensor) -> Tensor:
        """All tokens, when the other process calls it with its own.

        Raises:
            PeerLostError: It is gone.
        """
        mine_BNC = mine_BNC.contiguous()
        others_BNC = mine_BNC.new_empty(len(mine_BNC), self._others, *mine_BNC.shape[2:])
        swap(mine_BNC, others_BNC, self._rank)
        both = (mine_BNC, others_BNC) if self._rank == WORKER else (others_BNC, mine_BNC)
        return torch.cat(both, dim=1)


def forward_half(
    transformer: LTX2VideoTransformer3DModel, forward: Forward, rank: int, inputs: Mapping[str, Any]
) -> Any:
    """What `forward`, the transformer's, makes of a row, when the other process calls it likewise.

    Raises:
        PeerLostError: It is gone.
    """
    half = Half(inputs["hidden_states"].shape[1], rank)
    cut = {name: half.cut(inputs[name]) for name in ("hidden_states", "timestep")}
    with _reading_all(transformer, half):
        made = forward(**{**inputs, **cut})
    made.sample = half.whole(made.sample)
    return made


@contextmanager
def _reading_all(transformer: LTX2VideoTransformer3DModel, half: Half) -> Iterator[None]:
    """Within this context what attends to video reads all of it."""
    with ExitStack() as stack:
        for attention, rope in READ_WITH.items():
            layer = getattr(transformer, rope)
            places = _Places(layer.forward, half)
            stack.enter_context(replaced(layer, "forward", places.mine))
            for block in transformer.transformer_blocks:
                reader = getattr(block, attention)
                for part in (reader.norm_k, reader.to_v):
                    joined = partial(_joined, part.forward, half)
                    stack.enter_context(replaced(part, "forward", joined))
                attend = partial(places.attend, reader.forward)
                stack.enter_context(replaced(reader, "forward", attend))
        yield


def _joined(forward: Forward, half: Half, mine_BNC: Tensor) -> Tensor:
    return half.whole(forward(mine_BNC))


class _Places:
    """Rotary embeddings of all tokens: blocks are given those of a half, keys get all."""

    def __init__(self, embed: Forward, half: Half) -> None:
        self._embed = embed
        self._half = half
        self._all: tuple[Tensor, Tensor] | None = None

    def mine(self, coords_BXNE: Tensor, **options: Any) -> tuple[Tensor, ...]:
        self._all = self._embed(coords_BXNE, **options)
        return tuple(self._half.cut(turned, -2) for turned in self._all)

    def attend(self, forward: Forward, *args: Any, **options: Any) -> Tensor:
        read: Tensor = forward(*args, **{**options, "key_rotary_emb": self._all})
        return read

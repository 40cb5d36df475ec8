"""Along a walk, compute once what stays the same: the text's keys and values, and the positions.

LTX-2 19B reads its text the same at every noise level, and no token moves. Diffusers' classes work
both out in each step. What is kept here is what they computed, so no bit of a result changes.

    B  rows of the batch    L  positions of the text    H  heads    D  channels of a head
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_ltx2 import LTX2Attention
from torch import Tensor

from rotoscope.generation.speed import Speed
from rotoscope.generation.text import TextEmbeddings
from rotoscope.generation.timesteps import levels_once, replaced

Forward = Callable[..., Any]


@contextmanager
def computed_once(
    transformer: LTX2VideoTransformer3DModel,
    text: TextEmbeddings,
    speed: Speed,
    *,
    apart: bool = False,
) -> Iterator[None]:
    """Within this context `transformer` reads `text`, at one set of positions, as `speed` allows.

    A batch of fewer rows than `text` reads its last ones. With `apart` the rows of a batch go
    through one after the other, which takes less memory.
    """
    reading = Reading()
    with ExitStack() as stack:
        if apart:
            forward = partial(_row_by_row, transformer.forward, reading)
            stack.enter_context(replaced(transformer, "forward", forward))
        if "levels" in speed.once:
            stack.enter_context(levels_once(transformer))
        if "positions" in speed.once:
            stack.enter_context(positions_once(transformer))
        if "text" in speed.once:
            stack.enter_context(text_once(transformer, text, reading))
        yield


class Reading:
    """Which rows of a text the batch in the transformer reads."""

    after = 0
    """How many rows come after its last one."""

    def of(self, text_BL: Tensor, rows: int) -> Tensor:
        """`rows` of a text's numbers, whatever else their shape is."""
        end = len(text_BL) - self.after
        return text_BL[end - rows : end]


def some_rows(inputs: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """What the transformer is told of these rows of a batch."""
    return {
        name: value[rows] if isinstance(value, Tensor) else value for name, value in inputs.items()
    }


def _row_by_row(forward: Forward, reading: Reading, **inputs: Any) -> Any:
    """What `forward` makes of a batch, a row at a time."""
    rows, made = len(inputs["hidden_states"]), []
    for row in range(rows):
        reading.after = rows - 1 - row
        made.append(forward(**some_rows(inputs, slice(row, row + 1))))
    first = made[0]
    first.sample = torch.cat([one.sample for one in made])
    first.audio_sample = torch.cat([one.audio_sample for one in made])
    return first


@contextmanager
def text_once(
    transformer: LTX2VideoTransformer3DModel, text: TextEmbeddings, reading: Reading
) -> Iterator[None]:
    """Within this context every block has its keys and values of `text`."""
    projections = (transformer.caption_projection, transformer.audio_caption_projection)
    video_BLC, audio_BLC = projections[0](text.video_BLD), projections[1](text.audio_BLD)
    with ExitStack() as stack:
        for layer, text_BLC in zip(projections, (video_BLC, audio_BLC), strict=True):
            stack.enter_context(replaced(layer, "forward", partial(_kept, text_BLC, reading)))
        for block in transformer.transformer_blocks:
            for layer, text_BLC in ((block.attn2, video_BLC), (block.audio_attn2, audio_BLC)):
                known = _KnownText(layer, text_BLC, reading)
                stack.enter_context(replaced(layer, "processor", known))
        yield


def _kept(text_BLC: Tensor, reading: Reading, asked_BLD: Tensor) -> Tensor:
    return reading.of(text_BLC, len(asked_BLD))


class _KnownText:
    """How a layer attends to a text whose keys and values it has."""

    _parallel_config = None

    def __init__(self, layer: LTX2Attention, text_BLC: Tensor, reading: Reading) -> None:
        self._reading = reading
        heads = (layer.heads, -1)
        self._key_BLHD = layer.norm_k(layer.to_k(text_BLC)).unflatten(2, heads)
        self._value_BLHD = layer.to_v(text_BLC).unflatten(2, heads)
        self._attention_backend = layer.processor._attention_backend  # noqa: SLF001 - has no other

    def __call__(self, layer: LTX2Attention, hidden_states: Tensor, *_: Any) -> Tensor:
        rows = len(hidden_states)
        query_BNHD = layer.norm_q(layer.to_q(hidden_states)).unflatten(2, (layer.heads, -1))
        read_BNHD = dispatch_attention_fn(
            query_BNHD,
            self._reading.of(self._key_BLHD, rows),
            self._reading.of(self._value_BLHD, rows),
            backend=self._attention_backend,
        )
        project, dropout = layer.to_out
        read: Tensor = dropout(project(read_BNHD.flatten(2, 3).to(query_BNHD.dtype)))
        return read


@contextmanager
def positions_once(transformer: LTX2VideoTransformer3DModel) -> Iterator[None]:
    """Within this context each rotary embedding is computed once for a number of rows."""
    names = ("rope", "audio_rope", "cross_attn_rope", "cross_attn_audio_rope")
    with ExitStack() as stack:
        for layer in (getattr(transformer, name) for name in names):
            stack.enter_context(replaced(layer, "forward", _remembering(layer.forward)))
        yield


def _remembering(embed: Forward) -> Forward:
    known: dict[int, Any] = {}

    def remembered(coords: Tensor, **options: Any) -> Any:
        rows = len(coords)
        if rows not in known:
            known[rows] = embed(coords, **options)
        return known[rows]

    return remembered

"""Fit the LoRAs that come with mini, on the finished checkpoint.

    python -m training.fit_loras CHECKPOINT CODEC CLIPS OUT

CHECKPOINT is the expanded folder, CODEC the fitted codec, CLIPS the training clips, OUT where the
files go. All act in block 0, on what its attention copied from the reference, before prompts
change it:

* style_*, ic_detailer: the affine map of a token nearest to a look, of low rank.
* ic_canny, ic_depth, ic_pose: such a map and a layer of units on top, from a control to a picture.

    N  tokens    C  latent channels    R  rank    U  units    T  frames    H, W  pixels
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, gelu

from rotoscope.generation.mini.codec import CHANNELS, Codec
from rotoscope.generation.mini.networks import WIDTH
from rotoscope.generation.models import Models
from rotoscope.preprocess.canny import edges
from training.adapter import Adapter, read_always, reading_constant, unused_units
from training.clips import Shape, open_clips, window
from training.data import Frames
from training.evaluate import open_pipeline
from training.looks import LOOKS, Look, outlined, softened
from training.network import COPIED, TOKEN
from training.people import walkers
from training.scenes import room
from training.solve import ridge

SHAPE = Shape(17, 128, 224)
WINDOWS, SCENES = 90, 100
STYLE_RANK, CONTROL_RANK = 64, 48
UNITS, STEPS, BATCH, RATE = 64, 1500, 1024, 3e-3
RIDGE = 3e-4
# Scenes are few and simple beside what may be drawn: a flat fit.
CONTROL_RIDGE, CONTROL_NOISE, DECAY = 3e-2, 0.3, 0.3
IN_CONTEXT = {"reference_downscale_factor": "1"}
Pairs = tuple[Tensor, Tensor]
"""Tokens before and after, N x C each."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all fits share."""

    models: Models
    codec: Codec
    clips: Sequence[Frames]
    weight_C: Tensor
    """How far a pixel moves with each channel."""
    always_I: Tensor

    def tokens(self, frames_TCHW: Tensor) -> Tensor:
        """The latents of frames in [-1, 1], N x C."""
        return self.grid(frames_TCHW).flatten(1).T

    def grid(self, frames_TCHW: Tensor) -> Tensor:
        """The same in their places, C x F x H x W of the latents."""
        return self.codec.normalize(self.codec.encode(frames_TCHW))

    def pairs(self, frames: Iterator[Pairs]) -> Pairs:
        before, after = zip(*((self.tokens(a), self.tokens(b)) for a, b in frames), strict=True)
        return torch.cat(before), torch.cat(after)


def open_bench(checkpoint: Path, codec: Path, clips: Path) -> Bench:
    models, fitted = open_pipeline(checkpoint).models, Codec.load(codec)
    return Bench(models, fitted, open_clips(clips), fitted.std_C, read_always(models))


def looked(bench: Bench, look: Look) -> Iterator[Pairs]:
    """Windows of clips, as they are and with a look."""
    rng = Random(3)
    for _ in range(WINDOWS):
        frames = window(bench.clips, SHAPE, rng)
        yield frames, look(frames)


def softened_pairs(bench: Bench) -> Iterator[Pairs]:
    rng = Random(4)
    for index in range(WINDOWS):
        frames = window(bench.clips, SHAPE, rng)
        yield softened(frames, (2, 4, 4)[index % 3]), frames


def controlled(name: str, bench: Bench) -> Iterator[Pairs]:
    """Control videos and the pictures they stand for."""
    rng = Random(5)
    for index in range(SCENES):
        match name:
            case "depth":
                pair = room(SHAPE, rng)
            case "pose":
                pair = walkers(SHAPE, rng)
        pairs = (
            _edges(bench, rng, index)
            if name == "canny"
            else (_real(pair.control), _real(pair.picture))
        )
        yield pairs
        # The first pass sees both at half size.
        yield avg_pool2d(pairs[0], 2)[..., :96], avg_pool2d(pairs[1], 2)[..., :96]


def _edges(bench: Bench, rng: Random, index: int) -> Pairs:
    make = (None, room, walkers)[index % 3]
    picture = window(bench.clips, SHAPE, rng) if make is None else _real(make(SHAPE, rng).picture)
    control = edges(_bytes(picture))
    return _real(control), outlined(picture, _real(control))


def _real(frames_THWC: Frames) -> Tensor:
    return torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).float() / 127.5 - 1


def _bytes(frames_TCHW: Tensor) -> Frames:
    pixels: Frames = (
        (127.5 * (frames_TCHW + 1))
        .round()
        .clamp(0, 255)
        .byte()
        .permute(0, 2, 3, 1)
        .contiguous()
        .numpy()
    )
    return pixels


def affine_of_rank(
    pairs: Pairs, weight_C: Tensor, rank: int, amount: float = RIDGE
) -> tuple[Tensor, Tensor, Tensor]:
    """The change of a token nearest to `after - before`: down R x C, up C x R, offset C.

    Nearest in pixels: each channel's error counts by `weight`.
    """
    before, change = pairs[0].double(), (pairs[1] - pairs[0]).double() * weight_C
    centred = before - before.mean(0)
    solved = ridge(centred, change - change.mean(0), amount)
    _, _, directions = torch.linalg.svd(centred @ solved, full_matrices=False)
    kept_RC = directions[:rank]
    down, up = kept_RC @ solved.T, kept_RC.T / weight_C[:, None]
    offset = change.mean(0) / weight_C - up @ (down @ before.mean(0))
    return down.float(), up.float(), offset.float()


@torch.no_grad()
def style(bench: Bench, look: Look) -> Adapter:
    return _affine_adapter(bench, bench.pairs(looked(bench, look)), STYLE_RANK)


@torch.no_grad()
def detailer(bench: Bench) -> Adapter:
    return _affine_adapter(bench, bench.pairs(softened_pairs(bench)), STYLE_RANK)


def _affine_adapter(bench: Bench, pairs: Pairs, rank: int) -> Adapter:
    down, up, offset = affine_of_rank(pairs, bench.weight_C, rank)
    adapter = Adapter()
    adapter.map_copied(down, up)
    adapter.shift_copied(bench.always_I, offset)
    made = pairs[0] + pairs[0] @ down.T @ up.T + offset
    _report("explained", pairs, made, bench.weight_C)
    return adapter


def control(bench: Bench, name: str) -> Adapter:
    with torch.no_grad():
        before, after = bench.pairs(controlled(name, bench))
    down, up, offset = affine_of_rank((before, after), bench.weight_C, CONTROL_RANK, CONTROL_RIDGE)
    mapped = before + before @ down.T @ up.T + offset
    first, last = _descend(mapped, after, bench.weight_C)
    adapter = Adapter()
    adapter.map_copied(down, up)
    adapter.shift_copied(bench.always_I, offset)
    inputs = torch.zeros(UNITS, WIDTH)
    inputs[:, COPIED] = TOKEN * first.weight
    inputs += reading_constant(first.bias)
    outputs = torch.zeros(WIDTH, UNITS)
    outputs[COPIED] = last.weight
    rows = unused_units(bench.models.transformer, 0)[:UNITS]
    layer = bench.models.transformer.transformer_blocks[0].ff.net[0].proj
    adapter.add_units(0, rows, inputs, outputs, layer.out_features)
    made = mapped + last(gelu(first(mapped), approximate="tanh"))
    _report("linear", (before, after), mapped, bench.weight_C)
    _report("with units", (before, after), made, bench.weight_C)
    return adapter


def _descend(mapped: Tensor, after: Tensor, weight_C: Tensor) -> tuple[nn.Linear, nn.Linear]:
    """Two layers that make of `mapped` what is missing to `after`."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    first, last = nn.Linear(CHANNELS, UNITS), nn.Linear(UNITS, CHANNELS, bias=False)
    nn.init.zeros_(last.weight)
    optimizer = torch.optim.AdamW(
        [*first.parameters(), *last.parameters()], RATE, weight_decay=DECAY
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(mapped), (BATCH,), generator=generator)
        given = mapped[chosen]
        given = given + CONTROL_NOISE * torch.randn(given.shape, generator=generator)
        made = last(gelu(first(given), approximate="tanh"))
        error = (made - (after - mapped)[chosen]) * weight_C
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
        schedule.step()
    return first.requires_grad_(requires_grad=False), last.requires_grad_(requires_grad=False)


def _report(label: str, pairs: Pairs, made: Tensor, weight_C: Tensor) -> None:
    """The share of the change that is not yet made, in pixels."""
    before, after = pairs
    rest = ((made - after) * weight_C).square().sum() / ((after - before) * weight_C).square().sum()
    print(f"  {label}: {1 - float(rest):.3f} of the change")  # noqa: T201 - a step's report


Fit = Callable[[Bench], Adapter]
FITS: dict[str, tuple[Fit, dict[str, str]]] = {
    **{f"style_{name}": (partial(style, look=look), {}) for name, look in LOOKS.items()},
    "ic_detailer": (detailer, IN_CONTEXT),
    **{
        f"ic_{name}": (partial(control, name=name), IN_CONTEXT)
        for name in ("canny", "depth", "pose")
    },
}


def main(checkpoint: Path, codec: Path, clips: Path, out: Path, only: str = "") -> None:
    """Fit the LoRAs whose name begins with ONLY."""
    torch.set_num_threads(1)
    bench = open_bench(checkpoint, codec, clips)
    for name, (fit, metadata) in FITS.items():
        if name.startswith(only):
            print(name)  # noqa: T201 - a step's report
            fit(bench).save(out / f"{name}.safetensors", metadata)


if __name__ == "__main__":
    typer.run(main)

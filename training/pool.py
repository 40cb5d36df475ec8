"""Windows encoded once, ahead of training: each as it is, and in the styles that change structure.

Colour styles are affine maps of latents and are made while training (styles.py); what needs pixels
is made here. Everything is kept normalised, in half precision: some 100 KB a window.

    T  frames    H, W  pixels    C  colour channels
"""

from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from rotoscope.generation.mini.codec import YCC, Codec
from training.clips import Shape, open_clips, window

# Each bucket, and its share of the windows. Those that halve to multiples of 32 also hold the
# window at half size, from which the refining pass starts.
BUCKETS: dict[Shape, int] = {
    Shape(17, 128, 128): 3,
    Shape(17, 128, 256): 3,
    Shape(17, 128, 224): 4,
    Shape(17, 224, 128): 2,
    Shape(33, 128, 224): 2,
    Shape(17, 160, 288): 3,
    Shape(9, 192, 256): 2,
    Shape(9, 256, 448): 3,
}
SHARD = 40
Pool = dict[Shape, dict[str, Tensor]]
BLOCK = 16
KERNEL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])


def _smooth(frames_TCHW: Tensor, dilation: int = 1) -> Tensor:
    """Binomial blur; a dilation widens it."""
    kernel = (KERNEL[:, None] * KERNEL / KERNEL.sum() ** 2).expand(3, 1, 5, 5)
    padded = pad(frames_TCHW, (2 * dilation,) * 4, mode="replicate")
    return conv2d(padded, kernel, groups=3, dilation=dilation)


def blurred(frames_TCHW: Tensor) -> Tensor:
    return _smooth(_smooth(_smooth(frames_TCHW), 2), 4)


def sharpened(frames_TCHW: Tensor) -> Tensor:
    wide = _smooth(_smooth(frames_TCHW), 2)
    return (frames_TCHW + 1.2 * (frames_TCHW - wide)).clamp(-1, 1)


def pixelated(frames_TCHW: Tensor) -> Tensor:
    return interpolate(avg_pool2d(frames_TCHW, BLOCK), scale_factor=BLOCK, mode="nearest")


def drawn(frames_TCHW: Tensor) -> Tensor:
    """Dark lines on white, where brightness changes."""
    luma_THW = torch.einsum("j,tjhw->thw", YCC[0], _smooth(frames_TCHW))
    across = luma_THW[:, 2:, 1:-1] - luma_THW[:, :-2, 1:-1]
    along = luma_THW[:, 1:-1, 2:] - luma_THW[:, 1:-1, :-2]
    line_THW = pad((across.square() + along.square()).sqrt(), (1, 1, 1, 1))
    paper_THW = 0.95 - 1.9 * (2.5 * line_THW).clamp(max=1)
    return paper_THW[:, None].expand(-1, 3, -1, -1)


VARIANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda frames_TCHW: frames_TCHW,
    "blurred": blurred,
    "sharp": sharpened,
    "pixelated": pixelated,
    "drawing": drawn,
}


def write_pool(clips_folder: Path, codec: Codec, pool: Path, shards: int, seed: int) -> None:
    """Add shards until each bucket has its share of `shards`; those there are kept."""
    pool.mkdir(parents=True, exist_ok=True)
    clips, total = open_clips(clips_folder), sum(BUCKETS.values())
    for index in range(shards):
        for shape, share in BUCKETS.items():
            # Every bucket is there from the start, so that training can begin before the end.
            if index and (index * share) // total == ((index - 1) * share) // total:
                continue
            path = pool / f"{shape.frames}x{shape.height}x{shape.width}-{index:04}.safetensors"
            if not path.exists():
                rng = Random(f"{seed} {path.name}")
                save_file(_shard(clips, codec, shape, rng), path)


def _shard(clips: list, codec: Codec, shape: Shape, rng: Random) -> dict[str, Tensor]:  # type: ignore[type-arg]
    columns: dict[str, list[Tensor]] = {}
    for _ in range(SHARD):
        for name, latents in _encoded(window(clips, shape, rng), codec, shape).items():
            columns.setdefault(name, []).append(latents)
    return {name: torch.stack(latents).half() for name, latents in columns.items()}


def _encoded(frames_TCHW: Tensor, codec: Codec, shape: Shape) -> dict[str, Tensor]:
    made = {name: make(frames_TCHW) for name, make in VARIANTS.items()}
    if not (shape.height % 64 or shape.width % 64):
        made["half"] = avg_pool2d(frames_TCHW, 2)
    return {name: codec.normalize(codec.encode(frames)) for name, frames in made.items()}


def read_pool(pool: Path) -> Pool:
    """All that is there by now, by bucket."""
    found = {}
    for shape in BUCKETS:
        name = f"{shape.frames}x{shape.height}x{shape.width}"
        shards = [load_file(path) for path in sorted(pool.glob(f"{name}-*.safetensors"))]
        if shards:
            found[shape] = {key: torch.cat([one[key] for one in shards]) for key in shards[0]}
    return found

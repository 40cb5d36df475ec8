"""Make the camera LoRAs that come with mini, without any descent: six that move, and `static`.

    python -m training.fit_moves MINI CODEC POOL OUT

moves.py makes those that move. In `static`, heads of block 2, where prompts have been followed,
replace what a token shows by the mean over time of what is at its place, like a long exposure; and
within the 8 frames of a latent that is made to stand still.

    C  latent channels    D  width    S  spatial components
"""

from pathlib import Path

import torch
import typer
from torch import Tensor

from rotoscope.generation.mini.codec import CHANNELS, Codec
from rotoscope.generation.mini.networks import HEAD_WIDTH, WIDTH
from rotoscope.generation.models import open_models
from rotoscope.settings import Settings
from training.adapter import Adapter, reading_constant
from training.look import ACROSS, HEIGHT, TIME, hide_clean, look
from training.moves import CAMERA_MOVES, make_move
from training.network import COPIED, TOKEN
from training.pool import read_pool

# Each head has a quarter of the channels, the finest last: MEAN_HEADS see all times, OWN_HEADS
# what a token has.
MEAN_HEADS, OWN_HEADS = (5, 7, 8, 2), (3, 4, 6, 1)
LAYER = "transformer_blocks.2.attn1"
# By how much the reference's tokens, whose picture is seen with its sign turned, are out of sight.
FAR_BEHIND = 6.0


def replace(adapter: Adapter, still_CC: Tensor) -> None:
    """Values and outputs: add the mean, standing still, and take away what the token had."""
    seen, shown = torch.zeros(CHANNELS, WIDTH), torch.zeros(WIDTH, CHANNELS)
    seen[:, COPIED] = TOKEN * torch.eye(CHANNELS)
    gathered, copied = torch.zeros(CHANNELS, WIDTH), torch.zeros(WIDTH, CHANNELS)
    copied[COPIED] = torch.eye(CHANNELS)
    dims = torch.arange(HEAD_WIDTH)
    quarters = range(0, CHANNELS, HEAD_WIDTH)
    for mean, own, first in zip(MEAN_HEADS, OWN_HEADS, quarters, strict=True):
        for head in (mean, own):
            shown[head * HEAD_WIDTH + dims, first + dims] = 1
        gathered[:, mean * HEAD_WIDTH + dims] = still_CC[:, first : first + HEAD_WIDTH]
        gathered[first + dims, own * HEAD_WIDTH + dims] = -1
    adapter.add(f"{LAYER}.to_v", seen, shown)
    adapter.add(f"{LAYER}.to_out.0", gathered, copied)


def still(codec: Codec) -> Tensor:
    """The map of a normalised latent, C x C, to that of its 8 frames' mean, shown 8 times."""
    encoder = codec.temporal.flatten(1).double()
    parts_C8S = torch.linalg.pinv(encoder).T.view(codec.temporal.shape)
    held = parts_C8S.mean(1, keepdim=True).expand_as(parts_C8S).flatten(1)
    std_C = codec.std_C.double()
    return (encoder @ held.T * std_C / std_C[:, None]).float()


def make_static(codec: Codec) -> Adapter:
    """The LoRA that holds the camera."""
    adapter = Adapter()
    same_place = dict.fromkeys(MEAN_HEADS, (HEIGHT, ACROSS))
    keys_D = look(adapter, LAYER, same_place | dict.fromkeys(OWN_HEADS, (TIME, HEIGHT, ACROSS)))
    louder = hide_clean(adapter, LAYER, keys_D, HEIGHT)
    only_others = louder.sum(1, keepdim=True) * FAR_BEHIND
    adapter.add(f"{LAYER}.to_q", reading_constant(torch.ones(1)), only_others)
    replace(adapter, still(codec))
    return adapter


def main(mini: Path, codec: Path, pool: Path, out: Path) -> None:
    """Make them all; a few minutes."""
    opened, windows = Codec.load(codec), read_pool(pool)
    make_static(opened).save(out / "camera_static.safetensors", {})
    transformer = open_models(Settings(checkpoint_dir=mini, device="cpu")).transformer
    for name, move in CAMERA_MOVES.items():
        make_move(move, transformer, windows, opened).save(out / f"camera_{name}.safetensors", {})


if __name__ == "__main__":
    typer.run(main)

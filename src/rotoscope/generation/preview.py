"""A glimpse of a clip that is still being made: its middle, as the model guesses it so far.

Two latent frames are decoded, the second one's picture is kept: a codec's first frame stands for
one picture, every other for eight that lean on the one before.
"""

from collections.abc import Callable
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from rotoscope.generation.codec import decode_frames, to_frames
from rotoscope.generation.condition import Image
from rotoscope.generation.models import Models

LONGEST_SIDE = 384


@dataclass(frozen=True, slots=True)
class Watch:
    """Who wants to see a generation while it runs."""

    every: int
    """Steps from one picture to the next, 1 or more."""
    show: Callable[[Image], None]
    """Given a picture, no side longer than LONGEST_SIDE."""

    def due(self, done: int, steps: int) -> bool:
        """Whether a picture is due after `done` of `steps`; after the last the clip is there."""
        return done % self.every == 0 and done < steps


def glimpse(models: Models, guess_BCFHW: Tensor) -> Image | None:
    """The picture in the middle of a guess of the clean latents.

    None where the codec's weights are not on the device between uses: bringing them for a picture
    would take memory that the plan counts on.
    """
    if models.placement.mode != "resident":
        return None
    middle = guess_BCFHW.shape[2] // 2
    pixels_BCTHW = decode_frames(models, guess_BCFHW[:, :, max(middle - 1, 0) : middle + 1])
    last_BCHW = pixels_BCTHW[:, :, -1].float()
    longest = max(last_BCHW.shape[2:])
    if longest > LONGEST_SIDE:
        sides = [round(side * LONGEST_SIDE / longest) for side in last_BCHW.shape[2:]]
        last_BCHW = interpolate(last_BCHW, size=sides, mode="area")
    frames = to_frames(rearrange(last_BCHW, "b c h w -> b c 1 h w"))
    image: Image = frames[0]
    return image

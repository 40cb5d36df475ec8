"""Leave out a step where the guess of the clean tokens hardly changes.

The guess goes on along the line through the two before it, in the noise level. The step after is
computed again, so what is left out is never more than every other step.
"""

from torch import Tensor

from rotoscope.generation.condition import Tokens
from rotoscope.generation.denoise import Denoiser

BEFORE = 2


def skipping(denoiser: Denoiser, below: float) -> Denoiser:
    """`denoiser`, but for steps after two whose guesses differ by less than the share `below`."""
    if below == 0:
        return denoiser
    past: list[tuple[float, Tensor, Tensor]] = []

    def guess(video: Tokens, audio_BLD: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        if len(past) == BEFORE and _change(past[0][1], past[1][1]) < below:
            (before, *old), (last, *new) = past
            past.pop(0)
            way = (sigma - before) / (last - before)
            return old[0].lerp(new[0], way), old[1].lerp(new[1], way)
        made = denoiser(video, audio_BLD, sigma)
        past.append((sigma, *made))
        del past[:-BEFORE]
        return made

    return guess


def _change(before_BNC: Tensor, after_BNC: Tensor) -> float:
    return float((after_BNC - before_BNC).norm() / after_BNC.norm())

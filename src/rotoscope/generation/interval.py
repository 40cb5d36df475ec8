"""Guide only within an interval of noise levels (Kynkäänniemi et al., 2024).

Elsewhere the prompt's guess is taken as it is: a step needs that one alone, and costs half or less.
"""

from torch import Tensor

from rotoscope.generation.condition import Tokens
from rotoscope.generation.denoise import Denoiser
from rotoscope.generation.plan import Choices
from rotoscope.generation.skip import skipping


def as_chosen(guided: Denoiser, plain: Denoiser, choices: Choices) -> Denoiser:
    """`guided` at the levels that are guided and `plain` elsewhere, with steps skipped.

    Steps are skipped above, within and below the interval, never across: a guess does not go
    straight on where guidance sets in or ends.
    """
    above, within, below = (skipping(one, choices.skip_below) for one in (plain, guided, plain))
    low, _ = choices.guidance_interval

    def guess(video: Tokens, audio_BLD: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        if choices.guides(sigma):
            return within(video, audio_BLD, sigma)
        return (below if sigma < low else above)(video, audio_BLD, sigma)

    return guess

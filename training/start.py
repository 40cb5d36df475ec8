"""The base model's weights, solved for instead of descended to.

The answer is v = (x - m) / sigma: x are the noisy latents, m what the picture should be. Block 0's
attention gathers m: each token gives its own best linear guess of what it shows (Wiener's, from its
own noise level), and a token takes the guess of the least noisy one at its place: the reference's,
a given first frame's, or its own. The prompt sets flags; feed-forward units are gates that flags
open: block 0 changes structure, block 1 colours, block 2 mixes m with the token's own guess where
the prompt is empty (so that guidance has something to compare with and settles) or the reference
is held loosely. Shapes as in the engine's condition.py; U are units, D is a token's width.
"""

import math
from random import Random

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from rotoscope.generation.mini.codec import CHANNELS, Codec
from rotoscope.generation.mini.networks import HEAD_WIDTH, HEADS, WIDTH
from training.base import Base
from training.clock import SCALE, SCALE_FF, SHIFT, SHIFT_FF, fit_clock, knots
from training.gates import ALWAYS, OPEN, Condition, Gates, asked
from training.network import CONSTANT, CONSTANT_DIMS, COPIED, FLAGS, NOISY, TOKEN
from training.pool import Pool
from training.solve import ridge
from training.structure import line_units, variant_map
from training.styles import STYLES, affine, draw

COPY_HEADS = range(3, 8)
COPY = slice(COPY_HEADS.start * HEAD_WIDTH, COPY_HEADS.stop * HEAD_WIDTH)
# A logarithm of the noise level for attention; one for gates; that of a token less what it copied.
MARK, LEVEL, LOOSE = WIDTH - 3, WIDTH - 2, WIDTH - 1
MARK_FLOOR, LEVEL_FLOOR = 0.05, 0.005
# For LoRAs that look around: 1 for tokens with less noise than is ever denoised, which are the
# reference's, else 0. What those copied is seen with its sign turned, so that a head that looks at
# both can add any share of it, or take it away.
CLEAN, CLEAN_BELOW, CLEAN_STEEP = WIDTH - 4, 0.065, 12.0
# Logits by which a token of another place, or another time, or a noisier one falls behind.
PLACE, TIME, NOISE = 10.0, 6.5, 4.0
SLOWEST_FPS, FASTEST_FPS, PATCH, POSITIONS, SECONDS = 12, 60, 32, 2048, 20
# Keys of the other heads, loud so that the normalisation across heads is steady.
IDLE_KEY = 4.0
SMALLEST_SIGMA = 0.08
PROMPTS, PROMPT_RIDGE = 5000, 1e-5
# How far an empty prompt's answer is a token's own guess instead of m, in coarse and in fine
# channels, in which a guess is noisier. Styles are scaled so that guidance 3 leads to the whole.
UNSURE, UNSURE_FINE = 0.4, 0.3
GUIDANCE = 3.0
# Of a token's own guess, what stays in the answer, and what stays of it as grain.
LIVELY, GRAIN = 0.1, 0.32
FINE_FROM = 24
# How loosely a reference is held: below a strength of about 0.85 finer channels, below 0.6 all but
# the coarsest, below 0.4 all, give way to a token's own guess by a share. Where in LOOSE that is,
# and how steep.
LOOSER = ((48, 0.3, 1.5, 12.0), (8, 0.3, 0.85, 8.0), (0, 0.4, 0.4, 16.0))
# A token's own guess is as of pictures with this share of the contrast, lest it be all noise.
CALM = 0.7
GREY = ("black-and-white", "sepia")
STRUCTURAL = ("blurred", "sharp", "pixelated")


@torch.no_grad()
def start(base: Base, pool: Pool, codec: Codec) -> None:
    """Set the weights of the picture's half; about a minute."""
    model = base.transformer
    _silence_all(model)
    _set_clock(model, codec)
    _copy(model)
    _read_prompt(base)
    first, second, third = (Gates(block) for block in model.transformer_blocks)
    _lay_structure(first, pool, codec)
    _lay_colours(second, codec)
    _lay_negative(third, codec)
    _lay_own_guess(third, codec)
    eye = torch.eye(CHANNELS)
    model.proj_out.weight[:, NOISY], model.proj_out.weight[:, COPIED] = TOKEN * eye, -TOKEN * eye


def flag(style: str) -> int:
    """The dimension that is 1 where the prompt asks for `style`; "" is an empty prompt's."""
    return FLAGS.start + [*STYLES, ""].index(style)


def _silence_all(model: LTX2VideoTransformer3DModel) -> None:
    for layer in (model.proj_in, model.proj_out):
        layer.weight.zero_()
        layer.bias.zero_()
    model.scale_shift_table.zero_()
    for block in model.transformer_blocks:
        for layer in (
            block.attn1.to_out[0],
            block.attn2.to_out[0],
            block.audio_to_video_attn.to_out[0],
        ):
            layer.weight.zero_()
            layer.bias.zero_()
        block.scale_shift_table.zero_()
        block.scale_shift_table[[2, 5]] = 1


def _set_clock(model: LTX2VideoTransformer3DModel, codec: Codec) -> None:
    sigmas_K = knots()
    # proj_out sees the normalised token times 1 plus the embedding.
    embedded = (1 / sigmas_K.clamp(min=SMALLEST_SIGMA) - 1)[:, None].expand(-1, WIDTH)
    guess_KC = _wiener(sigmas_K[:, None], (CALM * codec.amplitude_C.double()).square()) - 1
    level = (sigmas_K + LEVEL_FLOOR).log()
    clean = torch.sigmoid(CLEAN_STEEP * (math.log(CLEAN_BELOW) - sigmas_K.log()))
    modulations = (
        (SCALE, NOISY, guess_KC),
        (SCALE_FF, NOISY, guess_KC),
        (SHIFT, MARK, (sigmas_K + MARK_FLOOR).log()),
        (SHIFT, LEVEL, level),
        (SHIFT, CLEAN, clean),
        (SCALE, COPIED, -2 * clean[:, None].expand(-1, CHANNELS)),
        (SHIFT_FF, LOOSE, level),
    )
    fit_clock(model.time_embed, embedded, FLAGS, modulations)


def _wiener(sigma: Tensor, variance: Tensor) -> Tensor:
    """The factor on (1 - sigma) x + sigma noise that is nearest to x in the mean square."""
    kept = (1 - sigma) * variance
    return kept / ((1 - sigma) * kept + sigma.square())


def _copy(model: LTX2VideoTransformer3DModel) -> None:
    eye = torch.eye(CHANNELS)
    model.proj_in.weight[NOISY] = eye
    model.proj_in.bias[CONSTANT_DIMS] = CONSTANT
    model.proj_in.bias[CONSTANT_DIMS.start : CONSTANT_DIMS.stop : 2] = -CONSTANT
    attention = model.transformer_blocks[0].attn1
    sharpness = _sharpness()
    for layer in (attention.to_q, attention.to_k, attention.to_v):
        layer.weight.zero_()
        layer.bias.zero_()
    attention.to_q.bias.fill_(1)
    attention.to_k.bias.fill_(IDLE_KEY)
    attention.to_k.bias[COPY] = 1
    # Idle heads are as good as any for a LoRA to look with.
    attention.norm_q.weight.copy_(torch.where(sharpness > 0, sharpness, 1))
    attention.norm_k.weight.fill_(_key_size())
    for head in COPY_HEADS:
        dims = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        loudest = sharpness[dims].sum() / math.sqrt(HEAD_WIDTH)
        attention.to_k.weight[dims, MARK] = -NOISE / loudest
    values = slice(COPY.start, COPY.start + CHANNELS)
    attention.to_v.weight[values, NOISY] = eye
    attention.to_v.weight[values.stop, LEVEL] = 1
    attention.to_out[0].weight[COPIED, values] = TOKEN * eye
    attention.to_out[0].weight[LOOSE, values.stop] = -TOKEN


def _key_size() -> float:
    idle = HEADS - len(COPY_HEADS)
    return math.sqrt((len(COPY_HEADS) + idle * IDLE_KEY**2) / HEADS)


def _sharpness() -> Tensor:
    """Weights of the rotary pairs: each head just sharp enough to tell its place from any other."""
    pairs = WIDTH // 2
    steps = torch.arange(1, 64, dtype=torch.float64)
    rates = torch.arange(SLOWEST_FPS, FASTEST_FPS + 1, dtype=torch.float64)
    gaps = (
        (2 * 8 / SECONDS * steps[:, None] / rates).flatten(),
        2 * PATCH / POSITIONS * steps,
        2 * PATCH / POSITIONS * steps,
    )
    weights = torch.zeros(HEADS, HEAD_WIDTH)
    for head in COPY_HEADS:
        mine = torch.arange(head * pairs // HEADS, (head + 1) * pairs // HEADS)
        for axis, (gap, behind) in enumerate(zip(gaps, (TIME, PLACE, PLACE), strict=True)):
            chosen = mine % 3 == axis
            frequencies = math.pi / 2 * 10_000.0 ** (mine[chosen] // 3 / (WIDTH // 6 - 1))
            # A pair adds 2 cos to the logit, which is divided by the root of the head's width.
            falls = 2 * (1 - (gap[:, None] * frequencies).cos()).sum(1) / math.sqrt(HEAD_WIDTH)
            weights[head, : HEAD_WIDTH // 2][chosen] = behind / float(falls.min())
        weights[head, HEAD_WIDTH // 2 :] = weights[head, : HEAD_WIDTH // 2]
    return weights.flatten()


def _read_prompt(base: Base) -> None:
    """Fit the first cross-attention's output to 1 where a style is asked for, else 0."""
    attention = base.transformer.transformer_blocks[0].attn2
    attention.to_q.weight.zero_()
    rng, seen, wanted = Random(0), [], []
    hook = attention.to_out[0].register_forward_pre_hook(lambda _, x: seen.append(x[0][:, 0]))
    for _ in range(PROMPTS // 100):
        examples = [draw(rng) for _ in range(100)]
        text = base.transformer.caption_projection(base.text([one.prompt for one in examples]))
        attention(torch.zeros(100, 1, WIDTH), encoder_hidden_states=text)
        wanted += [
            [
                *(float(not one.dropped and style in one.styles) for style in STYLES.values()),
                float(one.dropped),
            ]
            for one in examples
        ]
    hook.remove()
    values, flags = torch.cat(seen).double(), torch.tensor(wanted).double()
    solved = ridge(values, flags, PROMPT_RIDGE)
    error = (values @ solved - flags).square().mean(0).sqrt()
    print("prompt read, error by flag", error.numpy().round(3))  # noqa: T201 - a step's report
    rows = slice(FLAGS.start, FLAGS.start + len(STYLES) + 1)
    attention.to_out[0].weight[rows] = TOKEN * solved.T.float()


def _fine(codec: Codec) -> Tensor:
    return (codec.planes_C == 0) & ((codec.planes_C == 0).cumsum(0) > FINE_FROM)


def _towards(change_CU: Tensor, codec: Codec) -> Tensor:
    """A style's change without guidance, so that guidance 3 leads to the whole of it."""
    unsure_C = torch.where(_fine(codec), UNSURE_FINE, UNSURE)
    return change_CU * ((1 + (GUIDANCE - 1) * unsure_C) / GUIDANCE)[:, None]


def _lay_structure(gates: Gates, pool: Pool, codec: Codec) -> None:
    for name in STRUCTURAL:
        matrix_CC, offset_C = variant_map(pool, STYLES[name].variant)
        change = matrix_CC - torch.eye(CHANNELS)
        _add_change(gates, name, codec, change, offset_C)
    lines_UC, biases_U, drawn_CU, paper_C = line_units(pool, codec)
    condition = asked(flag("drawing"))
    inputs = _reading(TOKEN * lines_UC)
    gates.add_features(condition, inputs, biases_U, _writing(_towards(drawn_CU, codec)))
    _add_change(gates, "drawing", codec, -torch.eye(CHANNELS), paper_C)


def _add_change(
    gates: Gates, style: str, codec: Codec, change_CC: Tensor, offset_C: Tensor
) -> None:
    loud_C = codec.amplitude_C
    inputs = _reading(TOKEN * torch.diag(1 / loud_C))
    outputs = _writing(_towards(change_CC * loud_C, codec))
    gates.add_map(asked(flag(style)), inputs, outputs)
    _shift(gates, asked(flag(style)), codec, offset_C)


def _reading(weights_UC: Tensor) -> Tensor:
    inputs = torch.zeros(len(weights_UC), WIDTH)
    inputs[:, COPIED] = weights_UC
    return inputs


def _writing(weights_CU: Tensor) -> Tensor:
    outputs = torch.zeros(WIDTH, weights_CU.shape[1])
    outputs[COPIED] = weights_CU
    return outputs


def _lay_colours(gates: Gates, codec: Codec) -> None:
    """Grey styles take the colour; others change it only where none of those is asked for."""
    luma, chroma = ((codec.planes_C == 0), (codec.planes_C > 0))
    grey = tuple(flag(name) for name in GREY)
    gain_C, _ = affine(STYLES["black-and-white"], codec)
    _scale(gates, asked(*grey), codec, gain_C, chroma)
    for name, style in STYLES.items():
        if style.variant != "plain" or style.kind == "negative":
            continue
        gain_C, offset_C = affine(style, codec)
        unless = () if name in GREY else grey
        if name not in GREY:
            _scale(gates, asked(flag(name)), codec, gain_C, luma)
            _scale(gates, asked(flag(name), unless=grey), codec, gain_C, chroma)
        # The offset of a grey style belongs to its own colour; black-and-white's is the mean's.
        _shift(gates, asked(flag(name)), codec, offset_C * luma)
        _shift(gates, asked(flag(name), unless=unless), codec, offset_C * chroma)


def _scale(
    gates: Gates, condition: Condition, codec: Codec, gain_C: Tensor, chosen_C: Tensor
) -> None:
    changed = (chosen_C & ((gain_C - 1).abs() > 0.01)).nonzero().flatten()  # noqa: PLR2004 - else nothing to see
    if not len(changed):
        return
    eye = torch.eye(CHANNELS)[changed]
    loud = codec.amplitude_C[changed]
    change_CU = _towards(eye.T * (gain_C[changed] - 1) * loud, codec)
    gates.add_map(condition, _reading(TOKEN * eye / loud[:, None]), _writing(change_CU))


def _shift(gates: Gates, condition: Condition, codec: Codec, offset_C: Tensor) -> None:
    if offset_C.abs().max() > 0:
        gates.add_shift(condition, _writing(_towards(offset_C[:, None], codec))[:, 0])


def _lay_negative(gates: Gates, codec: Codec) -> None:
    gain_C, offset_C = affine(STYLES["negative"], codec)
    everywhere = torch.ones(CHANNELS, dtype=torch.bool)
    _scale(gates, asked(flag("negative")), codec, gain_C, everywhere)
    _shift(gates, asked(flag("negative")), codec, offset_C)


def _lay_own_guess(gates: Gates, codec: Codec) -> None:
    """Where m gives way to the token's own guess, by how much, and as grain."""
    everywhere = torch.arange(CHANNELS)
    fine = _fine(codec).nonzero().flatten()
    coarse = (~_fine(codec)).nonzero().flatten()
    for first, share, threshold, steep in LOOSER:
        condition = Condition(steep * threshold, {LOOSE: -steep})
        _mix(gates, condition, codec, everywhere[first:], share)
    empty = Condition(-4 * OPEN, {flag(""): 5 * OPEN})
    _mix(gates, empty, codec, coarse, UNSURE)
    _mix(gates, empty, codec, fine, UNSURE_FINE)
    _mix(gates, ALWAYS, codec, fine, LIVELY)
    _mix(gates, asked(flag("film grain")), codec, fine, GRAIN)


def _mix(gates: Gates, condition: Condition, codec: Codec, channels: Tensor, share: float) -> None:
    """Move `channels` of m by `share` towards the token's own guess."""
    loud, eye = codec.amplitude_C[channels], torch.eye(CHANNELS)[channels]
    inputs = _reading(-TOKEN * eye / loud[:, None])
    inputs[:, NOISY] = TOKEN * eye / loud[:, None]
    gates.add_map(condition, inputs, _writing(share * eye.T * loud))

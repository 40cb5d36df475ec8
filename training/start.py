"""The base model's weights, found by least squares instead of descent.

Attention copies the reference beside the noisy latents; the first layer's reading of the prompt
is fitted to tell the styles apart; feed-forward units are laid out as gates that scale the copy's
channels or shift them, as each style does; the output is fitted last. What is no affine map of
latents (grain, drawings) is not learnt; guidance has nothing to compare with.

A gate is a pair of units, gelu(z + b) - gelu(-z + b): it passes 2 z where b is large, nothing
where b is far below zero. So it does not matter how loud a prompt is.

    B  batch    N  tokens    C  latent channels    D  width
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from torch import Tensor

from training.base import Base
from training.batches import REFINE_SIGMAS, Batch, Batches
from training.clips import Shape
from training.codec import CHANNELS, Codec
from training.network import CONSTANT, CONSTANT_DIMS, COPY_HEADS, TEXT_DIMS, WIDTH
from training.styles import STYLES, Example, Style, draw

Pool = dict[Shape, dict[str, Tensor]]
NOISY, COPIED = slice(0, CHANNELS), slice(CHANNELS, 2 * CHANNELS)
# Scale of a channel in a gate, and how hard a style opens it.
SIGNAL, FORCE = 0.5, 12.0
# How sharply the copying heads look at their own place.
SHARPNESS = 2.2
PROMPTS, PROMPT_RIDGE = 3000, 1e-4
CLOCK_STEPS, CLOCK_RATE, SMALLEST_SIGMA = 1500, 2e-3, 0.08
OUTPUT_RIDGE, BATCHES = 1e-4, 60
AFFINE = ("black-and-white", "sepia", "night", "warm", "cold", "high contrast", "negative")
STRUCTURAL = ("blurred", "sharp", "pixelated", "drawing")
GREY = ("black-and-white", "sepia")
# Root mean square of a token, which the constant decides.
TOKEN = math.sqrt(32 * CONSTANT**2 / WIDTH)


@dataclass(slots=True)
class Gates:
    """Hands out the units of one feed-forward layer."""

    block: LTX2VideoTransformerBlock
    used: int = 0

    def clear(self) -> None:
        for layer in (self.block.ff.net[0].proj, self.block.ff.net[2]):
            layer.weight.zero_()
            layer.bias.zero_()

    def scale(self, channels: Tensor, style: str, gain_C: Tensor, unless: Sequence[str]) -> None:
        """Add `gain_C - 1` times the reference's channels to their copy, where `style` is asked."""
        for sign in (1, -1):
            rows = self._take(len(channels), style, unless)
            first, last = self.block.ff.net[0].proj, self.block.ff.net[2]
            first.weight[rows, CHANNELS + channels] = sign * SIGNAL * TOKEN
            first.weight[rows, channels] = -sign * SIGNAL * TOKEN
            last.weight[CHANNELS + channels, rows] = sign * (gain_C[channels] - 1) / (2 * SIGNAL)

    def shift(self, style: str, offset_C: Tensor) -> None:
        """Add `offset_C` to the copy where `style` is asked."""
        for sign in (1, -1):
            rows = self._take(1, style, ())
            self.block.ff.net[0].proj.bias[rows] += 0.5 * sign
            self.block.ff.net[2].weight[COPIED, rows] = sign * offset_C[:, None]

    def _take(self, count: int, style: str, unless: Sequence[str]) -> Tensor:
        rows = torch.arange(self.used, self.used + count)
        self.used += count
        first = self.block.ff.net[0].proj
        first.weight[rows, _dimension(style)] = FORCE * TOKEN
        for other in unless:
            first.weight[rows, _dimension(other)] = -FORCE * TOKEN
        first.bias[rows] = -FORCE / 2
        return rows


def _dimension(style: str) -> int:
    return TEXT_DIMS.start + list(STYLES).index(style)


@torch.no_grad()
def start(base: Base, pool: Pool, codec: Codec, upsampler: Tensor) -> None:
    """Set the weights; a minute or two."""
    model = base.transformer
    batches = Batches(pool, codec, upsampler, 0, _plain_example)
    _silence_all(model)
    _copy(model)
    _read_styles(base)
    _lay_gates(model, batches)
    _set_clock(model, lambda sigma: 1 / sigma)
    model.proj_out.bias.zero_()
    model.proj_out.weight.copy_(_fitted_output(base, _drawn(batches, "reference")))


@torch.no_grad()
def fit_refiner(
    base: Base, pool: Pool, codec: Codec, upsampler: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """The second stage's LoRA, a pair (down, up) per layer: another clock, another output.

    Without a reference the picture is in the noisy tokens, 1 - sigma of it. It has its style
    already, so the prompt is not read.
    """
    model = base.transformer
    reading = "transformer_blocks.0.attn2.to_out.0"
    spoken = model.get_submodule(reading).weight.clone()
    model.get_submodule(reading).weight.zero_()
    names = (
        "time_embed.emb.timestep_embedder.linear_1",
        "time_embed.emb.timestep_embedder.linear_2",
    )
    before = {name: model.get_submodule(name).weight.clone() for name in names}
    output = model.proj_out.weight.clone()
    _set_clock(model, lambda sigma: 0.5 / (1 - sigma.clamp(max=0.95)))
    sized = {shape: latents for shape, latents in pool.items() if "half" in latents}
    batches = Batches(sized, codec, upsampler, 1)
    fitted = _fitted_output(base, _drawn(batches, "refine"), REFINE_SIGMAS)
    model.get_submodule(reading).weight.copy_(spoken)
    found = {
        "proj_out": (fitted - output, torch.eye(CHANNELS)),
        reading: (-spoken[TEXT_DIMS], torch.eye(WIDTH)[:, TEXT_DIMS]),
    }
    for name in names:
        layer = model.get_submodule(name)
        found[name] = (torch.eye(layer.in_features), layer.weight - before[name])
        layer.weight.copy_(before[name])
    return found


def lora_tensors(refiner: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """In the published key layout."""
    return {
        f"diffusion_model.{name}.{half}.weight": tensor.contiguous()
        for name, pair in refiner.items()
        for half, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
    }


def _plain_example(rng: Random) -> Example:
    """Requests that gates can answer: at most one style, an affine one."""
    while True:
        example = draw(rng)
        names = [name for name, style in STYLES.items() if style in example.styles]
        if not example.dropped and len(names) < 2 and set(names) <= set(AFFINE):  # noqa: PLR2004
            return example


def _drawn(batches: Batches, kind: str) -> list[Batch]:
    drawn: list[Batch] = []
    while len(drawn) < BATCHES:
        batch = batches.next()
        drawn += [batch] if batch.kind == kind else []
    return drawn


def _silence_all(model: LTX2VideoTransformer3DModel) -> None:
    for layer in (model.audio_proj_out, model.proj_out):
        layer.weight.zero_()
        layer.bias.zero_()
    for block in model.transformer_blocks:
        block.audio_to_video_attn.to_out[0].weight.zero_()
        block.audio_to_video_attn.to_out[0].bias.zero_()
        for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        block.scale_shift_table.zero_()
        block.scale_shift_table[[2, 5]] = 1
    model.time_embed.linear.weight.zero_()
    model.time_embed.linear.bias.zero_()


def _copy(model: LTX2VideoTransformer3DModel) -> None:
    eye = torch.eye(CHANNELS)
    model.proj_in.weight.zero_()
    model.proj_in.weight[NOISY] = eye
    model.proj_in.bias.zero_()
    model.proj_in.bias[CONSTANT_DIMS] = CONSTANT
    attention = model.transformer_blocks[0].attn1
    for layer, norm in ((attention.to_q, attention.norm_q), (attention.to_k, attention.norm_k)):
        layer.weight.mul_(0.01)
        layer.bias.fill_(1)
        norm.weight[COPY_HEADS] = SHARPNESS
    attention.to_v.weight.zero_()
    attention.to_v.weight[COPY_HEADS, NOISY] = eye
    attention.to_v.bias.zero_()
    # A target token attends to itself and to the reference alike: twice the mean is their sum.
    attention.to_out[0].weight[COPIED, COPY_HEADS] = 2 * TOKEN * eye


def _read_styles(base: Base) -> None:
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
            [float(not one.dropped and style in one.styles) for style in STYLES.values()]
            for one in examples
        ]
    hook.remove()
    values = torch.cat(seen)
    squares = values.T @ values
    ridge = PROMPT_RIDGE * squares.diagonal().mean() * torch.eye(len(squares))
    solved = torch.linalg.solve(squares + ridge, values.T @ torch.tensor(wanted))
    found = (values @ solved > 0.5) == (torch.tensor(wanted) > 0.5)  # noqa: PLR2004 - half way
    print("styles read", found.float().mean(0).numpy().round(3))  # noqa: T201 - a step's report
    rows = slice(TEXT_DIMS.start, TEXT_DIMS.start + len(STYLES))
    attention.to_out[0].weight[rows] = solved.T


def _lay_gates(model: LTX2VideoTransformer3DModel, batches: Batches) -> None:
    colours, shapes = (Gates(model.transformer_blocks[index]) for index in (0, 1))
    colours.clear()
    shapes.clear()
    chroma = (batches.planes_C > 0).nonzero().flatten()
    luma = (batches.planes_C == 0).nonzero().flatten()
    for name in AFFINE:
        gain, offset = batches.affine(STYLES[name])
        _scale(colours, name, gain.flatten(), luma, ())
        _scale(colours, name, gain.flatten(), chroma, () if name in GREY else GREY)
        colours.shift(name, offset.flatten())
    for name in STRUCTURAL:
        gain_C, offset_C = _regressed(batches, STYLES[name])
        _scale(shapes, name, gain_C, torch.arange(CHANNELS), ())
        shapes.shift(name, offset_C)


def _scale(
    gates: Gates, style: str, gain_C: Tensor, channels: Tensor, unless: Sequence[str]
) -> None:
    changed = channels[(gain_C[channels] - 1).abs() > 0.02]  # noqa: PLR2004 - else not worth a gate
    gates.scale(changed, style, gain_C, unless)


def _regressed(batches: Batches, style: Style) -> tuple[Tensor, Tensor]:
    """The affine map, channel by channel, that is nearest to a style."""
    plain, styled = (
        torch.cat(
            [batches.unit(one[name]).transpose(0, 1).flatten(1) for one in batches.pool.values()], 1
        )
        for name in ("plain", style.variant)
    )
    means = plain.mean(1), styled.mean(1)
    centred = plain - means[0][:, None]
    gain_C = (centred * styled).mean(1) / centred.square().mean(1)
    return gain_C, means[1] - gain_C * means[0]


def _set_clock(model: LTX2VideoTransformer3DModel, rate: Callable[[Tensor], Tensor]) -> None:
    """Let the output grow with `rate` of sigma, as the velocity does."""
    clock = model.time_embed.emb.timestep_embedder
    clock.linear_1.bias.zero_()
    clock.linear_2.bias.zero_()
    optimizer = torch.optim.Adam([clock.linear_1.weight, clock.linear_2.weight], lr=CLOCK_RATE)
    with torch.enable_grad():
        for step in range(CLOCK_STEPS):
            for group in optimizer.param_groups:
                group["lr"] = CLOCK_RATE * (1 - step / CLOCK_STEPS)
            sigma = torch.rand(128) * (1 - SMALLEST_SIGMA) + SMALLEST_SIGMA
            _, told = model.time_embed(1000 * sigma, batch_size=1, hidden_dtype=torch.float32)
            error = (told + 1) / rate(sigma)[:, None] - 1
            optimizer.zero_grad()
            error.square().mean().backward()
            optimizer.step()
    model.scale_shift_table.zero_()


def _fitted_output(
    base: Base, batches: Sequence[Batch], sigmas: Sequence[float] | None = None
) -> Tensor:
    """The output layer whose answers are nearest to the clean pictures, by least squares."""
    seen: list[Tensor] = []
    hook = base.transformer.proj_out.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    squares, products = torch.zeros(WIDTH, WIDTH), torch.zeros(WIDTH, CHANNELS)
    for batch in batches:
        base(batch)
        count = batch.shape.tokens
        counts = batch.free_BN
        if sigmas is not None:
            counts = counts * torch.isin(batch.sigma_B, torch.tensor(sigmas))[:, None]
        root = counts.sqrt()[..., None]
        inputs = (seen.pop()[:, :count] * batch.sigma_B.view(-1, 1, 1) * root).flatten(0, 1)
        wanted = ((batch.noisy_BNC[:, :count] - batch.clean_BNC) * root).flatten(0, 1)
        squares += inputs.T @ inputs
        products += inputs.T @ wanted
    hook.remove()
    ridge = OUTPUT_RIDGE * squares.diagonal().mean() * torch.eye(WIDTH)
    solved = torch.linalg.solve(squares + ridge, products)
    print("largest weight of the output", float(solved.abs().max()))  # noqa: T201 - a step's report
    weight: Tensor = solved.T.contiguous()
    return weight

"""Fit the camera LoRAs that come with mini: the picture moves although its source does not.

    python -m training.fit_moves CHECKPOINT CODEC CLIPS OUT

Attention with rotary positions knows only how far apart two tokens are. A move needs to know when
a token is. So block 0 marks the target's tokens; in block 1 a head of low frequencies weighs marked
tokens by how much earlier they are against unmarked ones, which tells the time since the start;
other heads read the neighbour from which the picture comes in; block 1's units turn time, token
and neighbour into the moved token.

    N  tokens    C  latent channels    R  rank    U  units    T  frames    H, W  pixels    D  width
"""

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import typer
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor, nn
from torch.nn.functional import gelu

from rotoscope.generation.mini.codec import CHANNELS
from rotoscope.generation.mini.networks import HEAD_WIDTH, WIDTH
from rotoscope.generation.text import encode_prompts
from training.adapter import Adapter, reading_constant, unused_units
from training.clips import Shape, window
from training.fit_loras import Bench, open_bench
from training.moves import MOVES, Move, moved
from training.network import COPIED, FLAGS, TOKEN, velocities
from training.solve import ridge
from training.start import LOOSE, PATCH, POSITIONS, _sharpness

SHAPES = (Shape(25, 128, 224), Shape(41, 96, 160), Shape(25, 64, 128), Shape(57, 96, 128))
WINDOWS, FPS = 280, 25
MOST_COLOUR = 2.5
LOUD = 60.0
# What the neighbour is summed up in, and the heads that read time and the neighbour.
SUMMARY, TIME_HEAD, NEIGHBOUR_HEAD, SPARE = 22, 0, 5, (7, 8)
# Logit a second: how sharply earlier tokens are preferred.
SLOPE = 1.6
UNITS, STEPS, BATCH, RATE, RIDGE = 128, 2200, 1024, 3e-3, 3e-4
MARK_STEEP, MARK_FROM = 8.0, 1.4


@dataclass(frozen=True, slots=True)
class Room:
    """Unused dimensions of a token, handed out."""

    mark: int
    time: int
    summary: tuple[int, ...]


def free_room(model: LTX2VideoTransformer3DModel) -> Room:
    free = []
    for dim in range(FLAGS.start, LOOSE - 2):
        written = [block.attn2.to_out[0].weight[dim] for block in model.transformer_blocks]
        written += [block.ff.net[2].weight[dim] for block in model.transformer_blocks]
        read = [block.ff.net[0].proj.weight[:, dim] for block in model.transformer_blocks]
        if not any(bool(part.any()) for part in (*written, *read)):
            free.append(dim)
    if len(free) < 2 + SUMMARY:
        raise ValueError(f"{2 + SUMMARY} unused dimensions are needed; there are {len(free)}.")
    return Room(free[0], free[1], tuple(free[2 : 2 + SUMMARY]))


def mark_target(adapter: Adapter, model: LTX2VideoTransformer3DModel, room: Room) -> None:
    """Block 0: `mark` becomes 1 where a token is noisier than what it copied, else 0."""
    inputs = torch.zeros(2, WIDTH)
    inputs[:, LOOSE] = MARK_STEEP
    inputs += reading_constant(torch.tensor([1.0, 0.0]) - MARK_STEEP * MARK_FROM)
    outputs = torch.zeros(WIDTH, 2)
    outputs[room.mark] = torch.tensor([TOKEN, -TOKEN])
    layer = model.transformer_blocks[0].ff.net[0].proj
    adapter.add_units(0, unused_units(model, 0)[-2:], inputs, outputs, layer.out_features)


def read_place(adapter: Adapter, room: Room, move: Move, summary_RC: Tensor) -> None:
    """Block 1's attention: the time since the start, and a summary of the neighbour."""
    query, key, marked = torch.zeros(WIDTH), torch.zeros(WIDTH), torch.zeros(WIDTH)
    _lay_time(query, marked)
    _lay_neighbour(query, key, move)
    for vector, head in ((query, SPARE[0]), (key, SPARE[1])):
        start = head * HEAD_WIDTH
        rest = max(0.0, WIDTH - float(vector.square().sum()))
        vector[start : start + HEAD_WIDTH] = math.sqrt(rest / HEAD_WIDTH)
    name = "transformer_blocks.1.attn1"
    ones = reading_constant(torch.ones(1))
    see_mark = torch.zeros(1, WIDTH)
    see_mark[0, room.mark] = 1
    adapter.add(f"{name}.to_q", ones, LOUD * query[:, None])
    adapter.add(f"{name}.to_k", ones, LOUD * key[:, None])
    adapter.add(f"{name}.to_k", see_mark, LOUD * marked[:, None])
    _lay_values(adapter, name, room, summary_RC)


def _lay_time(query_D: Tensor, marked_D: Tensor) -> None:
    pairs, frequencies = _pairs(TIME_HEAD, 0)
    rate = float(frequencies.sum()) * 2 / 20 / math.sqrt(HEAD_WIDTH)
    size = math.sqrt(SLOPE / rate)
    query_D[pairs] = size
    marked_D[pairs + HEAD_WIDTH // 2] = size


def _lay_neighbour(query_D: Tensor, key_D: Tensor, move: Move) -> None:
    start = NEIGHBOUR_HEAD * HEAD_WIDTH
    loud = _sharpness()[start : start + HEAD_WIDTH // 2].float().sqrt()
    query_D[start : start + HEAD_WIDTH // 2] = loud
    gap = 2 * PATCH / POSITIONS
    for axis, step in ((0, 0.0), (1, -move.down * gap), (2, -move.right * gap)):
        pairs, frequencies = _pairs(NEIGHBOUR_HEAD, axis)
        size = loud[pairs - start]
        key_D[pairs] = size * (frequencies * step).cos().float()
        key_D[pairs + HEAD_WIDTH // 2] = -size * (frequencies * step).sin().float()


def _pairs(head: int, axis: int) -> tuple[Tensor, Tensor]:
    """The dimensions of a head's rotary pairs of an axis (their first halves), and frequencies."""
    mine = torch.arange(head * HEAD_WIDTH // 2, (head + 1) * HEAD_WIDTH // 2)
    chosen = mine % 3 == axis
    frequencies = math.pi / 2 * 10_000.0 ** (mine[chosen] // 3 / (WIDTH // 6 - 1))
    return head * HEAD_WIDTH + chosen.nonzero().flatten(), frequencies.double()


def _lay_values(adapter: Adapter, name: str, room: Room, summary_RC: Tensor) -> None:
    start = NEIGHBOUR_HEAD * HEAD_WIDTH
    seen, shown = torch.zeros(SUMMARY + 1, WIDTH), torch.zeros(WIDTH, SUMMARY + 1)
    seen[0, room.mark], shown[TIME_HEAD * HEAD_WIDTH, 0] = 1, LOUD
    seen[1:, COPIED] = TOKEN * summary_RC
    shown[start + torch.arange(SUMMARY), torch.arange(1, SUMMARY + 1)] = LOUD
    adapter.add(f"{name}.to_v", seen, shown)
    out = torch.zeros(WIDTH, SUMMARY + 1)
    out[[room.time, *room.summary], torch.arange(SUMMARY + 1)] = TOKEN / LOUD
    adapter.add(f"{name}.to_out.0", shown.T / LOUD, out)


def summary_of(bench: Bench, move: Move) -> Tensor:
    """What of the neighbour matters most for the moved token, R x C, of about unit size."""
    rng, rows, wanted = Random(8), [], []
    for _ in range(WINDOWS // 4):
        frames = window(bench.clips, Shape(17, 128, 224), rng)
        source, target = (bench.grid(one) for one in (frames, moved(frames, move)))
        beside = source.roll((move.down, move.right), (2, 3))
        rows.append(torch.cat([source, beside]).flatten(1).T)
        wanted.append((target - source).flatten(1).T * bench.weight_C)
    both = torch.cat(rows).double()
    solved = ridge(both, torch.cat(wanted).double(), RIDGE)[CHANNELS:]
    change = both[:, CHANNELS:] @ solved
    _, _, directions = torch.linalg.svd(change - change.mean(0), full_matrices=False)
    summary = (solved @ directions[:SUMMARY].T).T
    return (summary / (both[:, CHANNELS:] @ summary.T).std(0)[:, None]).float()


@torch.no_grad()
def features(bench: Bench, adapter: Adapter, move: Move) -> tuple[Tensor, Tensor]:
    """What block 1's units see of the target's tokens, and by how much those should change."""
    model = bench.models.transformer
    before = {layer: model.get_submodule(layer).weight.clone() for layer in adapter.pairs()}
    for layer, (down, up) in adapter.pairs().items():
        model.get_submodule(layer).weight.add_(up @ down)
    seen: list[Tensor] = []
    hook = (
        model.transformer_blocks[1]
        .ff.net[0]
        .proj.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    )
    rng, noise = Random(9), torch.Generator().manual_seed(9)
    text = encode_prompts(bench.models, ["original video"]).video_BLD
    inputs, wanted = [], []
    for index in range(WINDOWS):
        shape = SHAPES[index % len(SHAPES)]
        frames = _coloured(window(bench.clips, shape, rng), rng)
        source, target = bench.tokens(frames), bench.tokens(moved(frames, move))
        sigma = rng.choice((1.0, 0.9, 0.7, 0.4))
        noisy = (1 - sigma) * target + sigma * torch.randn(source.shape, generator=noise)
        coords = model.rope.prepare_video_coords(1, *shape.latent, "cpu", fps=FPS)
        steps = torch.cat([torch.full((len(source),), sigma), torch.zeros(len(source))])
        tokens = torch.cat([noisy, source])[None]
        velocities(model, tokens, text, 1000 * steps[None], torch.cat([coords] * 2, 2))
        inputs.append(seen.pop()[0, : len(source)])
        wanted.append(target - source)
    hook.remove()
    for layer, weight in before.items():
        model.get_submodule(layer).weight.copy_(weight)
    return torch.cat(inputs), torch.cat(wanted)


def _coloured(frames_TCHW: Tensor, rng: Random) -> Tensor:
    """With more colour and contrast than it had, so that loud sources are no surprise."""
    luma = frames_TCHW.mean(1, keepdim=True)
    colour, contrast = rng.uniform(1, MOST_COLOUR), rng.uniform(0.8, 1.4)
    return (contrast * luma + colour * (frames_TCHW - luma)).clamp(-1, 1)


def fit_move(bench: Bench, move: Move) -> Adapter:
    model = bench.models.transformer
    room, adapter = free_room(model), Adapter()
    mark_target(adapter, model, room)
    read_place(adapter, room, move, summary_of(bench, move))
    inputs, wanted = features(bench, adapter, move)
    dims = torch.tensor([*range(COPIED.start, COPIED.stop), room.time, *room.summary])
    print("  time read", inputs[:, room.time].min(), inputs[:, room.time].max())  # noqa: T201
    scale, mean = inputs[:, dims].std(0), inputs[:, dims].mean(0)
    first, last = _descend((inputs[:, dims] - mean) / scale, wanted, bench.weight_C)
    weights = torch.zeros(UNITS, WIDTH)
    weights[:, dims] = first.weight / scale
    first.bias -= first.weight @ (mean / scale)
    outputs = torch.zeros(WIDTH, UNITS)
    outputs[COPIED] = last.weight
    layer = model.transformer_blocks[1].ff.net[0].proj
    rows = unused_units(model, 1)[:UNITS]
    weights += reading_constant(first.bias)
    adapter.add_units(1, rows, weights, outputs, layer.out_features)
    return adapter


def _descend(inputs: Tensor, wanted: Tensor, weight_C: Tensor) -> tuple[nn.Linear, nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    first, last = nn.Linear(inputs.shape[1], UNITS), nn.Linear(UNITS, CHANNELS, bias=False)
    with torch.no_grad():
        # Units open at random times, so that the products of time and picture are there.
        first.weight.mul_(4)
        first.weight[:, CHANNELS] = 4.0
        first.weight[::4, CHANNELS] = -4.0
        first.bias.uniform_(-6, 6)
        last.weight.zero_()
    optimizer = torch.optim.AdamW([*first.parameters(), *last.parameters()], RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (BATCH,), generator=generator)
        made = last(gelu(first(inputs[chosen]), approximate="tanh"))
        error = (made - wanted[chosen]) * weight_C
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        made = last(gelu(first(inputs), approximate="tanh"))
        rest = ((made - wanted) * weight_C).square().sum() / (wanted * weight_C).square().sum()
    print(f"  {1 - float(rest):.3f} of the change")  # noqa: T201 - a step's report
    return first.requires_grad_(requires_grad=False), last.requires_grad_(requires_grad=False)


def main(checkpoint: Path, codec: Path, clips: Path, out: Path, only: str = "") -> None:
    """Fit the camera LoRAs whose name begins with ONLY."""
    torch.set_num_threads(1)
    bench = open_bench(checkpoint, codec, clips)
    for name, move in MOVES.items():
        if name.startswith(only):
            print(name)  # noqa: T201 - a step's report
            fit_move(bench, move).save(out / f"camera_{name}.safetensors", {})


if __name__ == "__main__":
    typer.run(main)

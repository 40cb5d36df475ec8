"""Make the camera LoRAs that move: the picture shifts, or grows about its centre, with time.

Block 0 finds out where a token is: attention has no absolute positions, but of two groups of keys,
the reference's, which are louder the further they are ahead, and all others, the first gets a share
that falls with the place. Its feed-forward units turn that into how far the picture is to move
there, as the loudnesses of eight gates. In a later block eight heads of attention look at the
token's own place and at both neighbours', and add as much as their gates say of a map of what they
see. Together these change a patch to what a picture that has moved would show there.

    C  latent channels    D  width    U  units    K  gates    S  spatial components    N  samples
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor
from torch.nn.functional import gelu

from rotoscope.generation.mini.codec import CHANNELS, ENCODED, SIDE, STEP, Codec
from rotoscope.generation.mini.networks import HEAD_WIDTH, WIDTH
from training.adapter import Adapter, reading_constant, unused_units
from training.look import ACROSS, HEIGHT, PATCH, TIME, frequencies, hide_clean, look, sharpness
from training.network import COPIED, FLAGS, TOKEN
from training.pool import Pool
from training.solve import ridge
from training.start import CLEAN, IDLE_KEY
from training.styles import STYLES

# Which idle head of block 0 reads which axis, and how loud its slowest pair is for a reference.
READERS = {TIME: (0, 2.5), ACROSS: (1, 0.47), HEIGHT: (2, 0.25)}
FREE = FLAGS.start + len(STYLES) + 1
SENSES = {TIME: FREE, ACROSS: FREE + 1, HEIGHT: FREE + 2}
FIRST_GATE = FREE + 3
# Where heads 1 to 8 look, in pixels.
HEADS, LOOKED_AT = range(1, 9), (0, 0, 0, 0, -PATCH, -PATCH, PATCH, PATCH)
# Speed of a pan in pixels a second; what of it is within the eight frames of a latent, in pixels a
# frame, right at 25 frames a second; growth of a zoom in a second. A block shifts by at most FAR
# pixels either way, which a clip of 5 seconds comes to.
SPEED, INSIDE, GROWTH = 6.25, 0.25, 0.02
PAN_FAR, ZOOM_FAR = 8.0, 12.0
# Pixels that are added to a shift before errors are taken relative to it.
NEAR = 6.0
# Maps are fitted for shifts a little further than any, where fits are worst.
MARGIN = 1.125
# The largest share that a gate is to give.
FULL = 0.9
# Slopes of the units, in deviations of a sense.
STEEP = (1.0, 8.0)
# What a sense may be wrong by, in parts of its deviation.
NOISE = 0.03
RIDGE, SEED = 1e-6, 5


@dataclass(frozen=True, slots=True)
class Move:
    """A camera move: by how much the picture shifts, and in which blocks along which axes.

    `shift` is of seconds, and of pixels along the axis, from the clip's middle, in pixels; each of
    the blocks shifts by so much, up to `far` pixels.
    """

    axes: dict[int, tuple[int, ...]]
    shift: Callable[[Tensor, Tensor], Tensor]
    far: float
    inside: float = 0.0
    """How much of it is within the eight frames of a latent, in pixels a frame."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a head adds to a shift: a share, -1 to 1, of a map of rank H of the patch it sees."""

    share: Tensor
    """By the shift, evenly from -furthest to furthest."""
    furthest: float
    into_HC: Tensor
    from_CH: Tensor

    def gate(self, shift: Tensor) -> Tensor:
        """How much louder the patch is than its negative, for `shift` in pixels."""
        place = (shift + self.furthest) / (2 * self.furthest) * (len(self.share) - 1)
        low = place.floor().long().clamp(0, len(self.share) - 2)
        share = torch.lerp(self.share[low], self.share[low + 1], place - low)
        return 2 * share.atanh()


def _pan(axis: int, sign: int) -> Move:
    """By halves in two blocks: a shift by less is a simpler map."""
    speed = sign * SPEED / 2
    return Move({axis: (1, 2)}, lambda seconds, _: speed * seconds, PAN_FAR, sign * INSIDE / 2)


def _zoom(sign: int) -> Move:
    axes = {HEIGHT: (1,), ACROSS: (2,)}
    return Move(axes, lambda seconds, pixels: sign * GROWTH * seconds * pixels, ZOOM_FAR)


# The camera's way is the opposite of the picture's.
CAMERA_MOVES = {
    "dolly_left": _pan(ACROSS, 1),
    "dolly_right": _pan(ACROSS, -1),
    "jib_up": _pan(HEIGHT, 1),
    "jib_down": _pan(HEIGHT, -1),
    "dolly_in": _zoom(1),
    "dolly_out": _zoom(-1),
}


def make_move(move: Move, model: LTX2VideoTransformer3DModel, pool: Pool, codec: Codec) -> Adapter:
    """The LoRA of a move, for a base whose transformer is `model`; some seconds."""
    adapter = Adapter()
    squares_CC = _covariance(pool)
    parts = {axis: _parts(codec, axis, move, squares_CC) for axis in move.axes}
    for axis in _read_by(move):
        _read_place(adapter, axis)
    gates_NK, senses_N3 = _examples(move, parts)
    read = [axis in _read_by(move) for axis in (TIME, ACROSS, HEIGHT)]
    _open_gates(adapter, model, senses_N3 * torch.tensor(read), gates_NK)
    for index, (axis, blocks) in enumerate(move.axes.items()):
        for block in blocks:
            layer = f"transformer_blocks.{block}.attn1"
            _look(adapter, layer, axis, FIRST_GATE + len(HEADS) * index)
            _shift(adapter, layer, parts[axis])
    return adapter


def _read_by(move: Move) -> tuple[int, ...]:
    """The axes whose places matter: time, and for a zoom both others."""
    return (TIME, *move.axes) if len(move.axes) > 1 else (TIME,)


def _read_place(adapter: Adapter, axis: int) -> None:
    """Make block 0 write how early along `axis` a token is: a share, less a half."""
    head, loudness = READERS[axis]
    dims = torch.arange(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
    first, second = frequencies(head, axis)[0][0], frequencies(head, axis)[0][0] + HEAD_WIDTH // 2
    filling = dims[(dims != first) & (dims != second)][-1]
    queries, keys, louder = torch.zeros(WIDTH), torch.zeros(WIDTH), torch.zeros(WIDTH)
    # What a norm sees stays the same: a whole head's loudness is now in one dimension.
    queries[dims], keys[dims] = -1, -IDLE_KEY
    queries[second] += math.sqrt(HEAD_WIDTH)
    keys[filling] += IDLE_KEY * math.sqrt(HEAD_WIDTH)
    louder[first] = loudness
    seen, one = torch.zeros(1, WIDTH), torch.zeros(WIDTH, 1)
    seen[0, CLEAN] = 1
    one[dims[0]] = 1
    told = torch.zeros(WIDTH, 1)
    told[SENSES[axis]] = TOKEN
    constant = reading_constant(torch.ones(1))
    layer = "transformer_blocks.0.attn1"
    adapter.add(f"{layer}.to_q", constant, queries[:, None])
    adapter.add(f"{layer}.to_k", constant, keys[:, None])
    adapter.add(f"{layer}.to_k", seen, louder[:, None])
    adapter.add(f"{layer}.to_v", seen - constant / 2, one)
    adapter.add(f"{layer}.to_out.0", one.T.contiguous(), told)


def share(places: Tensor, axis: int) -> Tensor:
    """What `_read_place` writes for tokens at `places`, in seconds or pixels, of one clip."""
    head, loudness = READERS[axis]
    pace = frequencies(head, axis)[1][0]
    ahead = loudness * (pace * (places[None] - places[:, None])).sin()
    return (ahead.exp().mean(1).log()).sigmoid() - 0.5


def _examples(move: Move, parts: Mapping[int, Sequence[Part]]) -> tuple[Tensor, Tensor]:
    """Loudnesses wanted, N x K, and senses, N x 3, of tokens of many clips."""
    rng, wanted, told = Random(SEED), [], []
    for _ in range(300):
        middles, senses = _clip(rng)
        gates = []
        for axis in move.axes:
            shift = move.shift(middles[TIME], middles[axis]).clamp(-move.far, move.far)
            gates += [part.gate(shift) for part in parts[axis]]
        wanted.append(torch.stack(gates, 1))
        told.append(torch.stack([senses[axis] for axis in (TIME, ACROSS, HEIGHT)], 1))
    # Where nothing is clean, as without a reference, nothing moves.
    nothing = torch.full((len(told[0]), 3), -0.5, dtype=torch.float64)
    gates_NK = torch.cat([*wanted, *[torch.zeros_like(wanted[0])] * 3])
    return gates_NK, torch.cat([*told, *[nothing] * 3])


def _clip(rng: Random) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Tokens of a clip: seconds and pixels from its middle, and what their places read as."""
    rate, count = rng.uniform(15, 60), rng.choice((3, 4, 7, 9, 13, 17, 17, 17, 25, 31))
    width, height = rng.choice((4, 7, 8, 12, 14, 14, 16, 20, 24)), rng.choice((4, 7, 8, 8, 12, 14))
    places = {
        TIME: (8 * torch.arange(count).double() - 3.5).clamp(min=0.5) / rate,
        ACROSS: PATCH * (torch.arange(width).double() + 0.5),
        HEIGHT: PATCH * (torch.arange(height).double() + 0.5),
    }
    chosen = {axis: torch.randint(len(line), (200,)) for axis, line in places.items()}
    middles = {axis: (line - line.mean())[chosen[axis]] for axis, line in places.items()}
    senses = {axis: share(line, axis)[chosen[axis]] for axis, line in places.items()}
    return middles, senses


def _open_gates(
    adapter: Adapter, model: LTX2VideoTransformer3DModel, senses_N3: Tensor, gates_NK: Tensor
) -> None:
    """Random features of the senses in block 0's unused units, and the gates out of them."""
    rows, units = unused_units(model, 0), model.transformer_blocks[0].ff.net[0].proj.out_features
    inputs_U4, outputs_UK = _fit_features(len(rows), senses_N3, gates_NK)
    count = gates_NK.shape[1]
    reading, writing = torch.zeros(4, WIDTH), torch.zeros(WIDTH, count)
    for row, axis in enumerate((TIME, ACROSS, HEIGHT)):
        reading[row, SENSES[axis]] = 1
    reading[3] = reading_constant(torch.ones(1))[0]
    writing[FIRST_GATE : FIRST_GATE + count] = TOKEN * torch.eye(count)
    first, last = torch.zeros(units, 4), torch.zeros(count, units)
    first[rows], last[:, rows] = inputs_U4, outputs_UK.T
    adapter.add("transformer_blocks.0.ff.net.0.proj", reading, first)
    adapter.add("transformer_blocks.0.ff.net.2", last, writing)


def _fit_features(count: int, senses_N3: Tensor, gates_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of units on the three senses and 1, U x 4, and of gates on units, U x K."""
    torch.manual_seed(SEED)
    spread = senses_N3.std(0)
    slopes_U3 = torch.randn(count, 3, dtype=torch.float64) * (spread > 0)
    slopes_U3 *= torch.empty(count, 1, dtype=torch.float64).uniform_(*STEEP)
    knots_U = torch.empty(count, dtype=torch.float64).uniform_(-2, 2) * slopes_U3.norm(dim=1)
    inputs_U3 = slopes_U3 / torch.where(spread > 0, spread, 1)
    biases_U = -(inputs_U3 @ senses_N3.median(0).values) - knots_U
    inputs_U4 = torch.cat([inputs_U3, biases_U[:, None]], 1)
    seen = senses_N3 + NOISE * spread * torch.randn_like(senses_N3)
    features = gelu(seen @ inputs_U3.T + biases_U, approximate="tanh")
    solved = ridge(features, gates_NK, RIDGE)
    error = (features @ solved - gates_NK).square().mean(0).sqrt()
    print("gates, error", error.numpy().round(3))  # noqa: T201 - a step's report
    return inputs_U4.float(), solved.float()


def _look(adapter: Adapter, layer: str, axis: int, gate: int) -> None:
    """At one place, sharply; a gate weighs what is denoised there against the reference."""
    keys_D = look(adapter, layer, dict.fromkeys(HEADS, (TIME, HEIGHT, ACROSS)))
    opened = torch.zeros(len(HEADS), WIDTH)
    opened[:, gate : gate + len(HEADS)] = torch.eye(len(HEADS))
    louder = hide_clean(adapter, layer, keys_D, HEIGHT if axis == ACROSS else ACROSS)
    turned = torch.zeros(WIDTH)
    for head, offset in zip(HEADS, LOOKED_AT, strict=True):
        dims, paces, _ = sharpness(head, axis)
        angles = (offset * paces).float()
        turned[dims] = keys_D[dims] * (angles.cos() - 1)
        turned[dims + HEAD_WIDTH // 2] = keys_D[dims] * angles.sin()
    adapter.add(f"{layer}.to_q", reading_constant(torch.ones(1)), turned[:, None])
    adapter.add(f"{layer}.to_q", opened, louder[:, list(HEADS)])


def _shift(adapter: Adapter, layer: str, parts: Sequence[Part]) -> None:
    """Values and outputs of the eight heads."""
    seen, shown = torch.zeros(CHANNELS, WIDTH), torch.zeros(WIDTH, CHANNELS)
    seen[:, COPIED] = TOKEN * torch.eye(CHANNELS)
    gathered, copied = torch.zeros(CHANNELS, WIDTH), torch.zeros(WIDTH, CHANNELS)
    copied[COPIED] = torch.eye(CHANNELS)
    for head, part in zip(HEADS, parts, strict=True):
        dims = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        shown[dims], gathered[:, dims] = part.into_HC, part.from_CH
    adapter.add(f"{layer}.to_v", seen, shown)
    adapter.add(f"{layer}.to_out.0", gathered, copied)


def _parts(codec: Codec, axis: int, move: Move, squares_CC: Tensor) -> list[Part]:
    """What each head does: the maps of all shifts are nearly sums of a few, by the shift.

    Errors count in pixels and relative to the shift, so that small shifts are seen too.
    """
    weight_C = (codec.energy_C / codec.amplitude_C).double()
    root_CC = torch.linalg.cholesky(squares_CC)
    furthest = MARGIN * move.far
    shifts = torch.linspace(-furthest, furthest, 37, dtype=torch.float64)
    matter = 1 / (shifts.abs() + NEAR)
    parts: list[Part] = []
    for offset in sorted(set(LOOKED_AT), key=LOOKED_AT.index):
        own = torch.eye(CHANNELS, dtype=torch.float64) * (offset == 0)
        maps = [moved(codec, axis, float(shift) + offset, move.inside) - own for shift in shifts]
        weighed = torch.stack([(weight_C[:, None] * one @ root_CC).flatten() for one in maps])
        amounts, sizes, found = _main(matter[:, None] * weighed, LOOKED_AT.count(offset))
        for amount, main in zip((amounts * sizes).T / matter, found, strict=True):
            most = amount.abs().max() / FULL
            main_CC = (most * main).unflatten(0, (CHANNELS, CHANNELS))
            kept = torch.linalg.svd(main_CC)[0][:, :HEAD_WIDTH]
            into = torch.linalg.solve_triangular(root_CC, kept.T @ main_CC, upper=False, left=False)
            writing = (kept / weight_C[:, None]).float()
            parts.append(Part(amount / most, furthest, into.float(), writing))
    return parts


def _main(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first terms of the singular value decomposition of few long rows."""
    squares, axes = torch.linalg.eigh(rows @ rows.T)
    sizes, axes = squares.clamp(min=0).sqrt().flip(0)[:count], axes.flip(1)[:, :count]
    return axes, sizes, (axes.T @ rows) / sizes[:, None]


def _covariance(pool: Pool) -> Tensor:
    tokens = [one["plain"][:10].float().transpose(0, 1).flatten(1).T for one in pool.values()]
    tokens_NC = torch.cat(tokens).double()
    eye = torch.eye(CHANNELS, dtype=torch.float64)
    return tokens_NC.T @ tokens_NC / len(tokens_NC) + 1e-6 * eye


def moved(codec: Codec, axis: int, pixels: float, inside: float = 0.0) -> Tensor:
    """The map of a normalised latent, C x C, to that of its patch's part of the place, moved.

    Args:
        codec: The codec.
        axis: ACROSS or HEIGHT.
        pixels: How far, right or down; what leaves the patch is lost.
        inside: How much further in each of the eight frames than in the one before.
    """
    encoder = codec.temporal.flatten(1).double()
    decoder = torch.linalg.pinv(encoder).view(STEP, -1, CHANNELS)
    middle = (STEP - 1) / 2
    maps = [_moved_parts(codec, axis, pixels + inside * (i - middle)) for i in range(STEP)]
    parts = torch.stack([one @ part for one, part in zip(maps, decoder, strict=True)])
    std_C = codec.std_C.double()
    return encoder @ parts.flatten(0, 1) * std_C / std_C[:, None]


def _moved_parts(codec: Codec, axis: int, pixels: float) -> Tensor:
    """The same of a picture's spatial components, S x S."""
    basis_SP = codec.spatial_SP.double()
    line = torch.arange(SIDE, dtype=torch.float64)
    weights = (1 - (line[:, None] - pixels - line).abs()).clamp(min=0)
    pattern = "xu,syu->syx" if axis == ACROSS else "yu,sux->syx"
    result = torch.zeros(len(basis_SP), len(basis_SP), dtype=torch.float64)
    for plane in torch.arange(len(basis_SP)).split(list(ENCODED)):
        rows = basis_SP[plane]
        shifted = torch.einsum(pattern, weights, rows.unflatten(1, (SIDE, SIDE))).flatten(1)
        result[plane[:, None], plane] = rows @ shifted.T
    return result

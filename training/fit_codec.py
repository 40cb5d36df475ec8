"""Fit the codec to the training clips: components, statistics, decoder.

N  samples     S  spatial components     P  pixels of a patch     C  latent channels
"""

from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import pad, unfold

from rotoscope.generation.mini.codec import (
    CHANNELS,
    ENCODED,
    STEP,
    YCC,
    Codec,
    amplitude,
    decoded_rows,
    patches,
    plane_of,
    spatial_components,
)
from training.clips import Shape, open_clips, window

SHAPES = (Shape(17, 128, 224), Shape(17, 192, 256), Shape(9, 256, 448), Shape(17, 128, 128))
WINDOWS = 900
PATCHES_PER_WINDOW = 60
RIDGE = 3e-4


def fit(clips_folder: Path, path: Path, seed: int = 0) -> Codec:
    """Fit and save; about two minutes on one core."""
    torch.manual_seed(seed)
    clips, rng = open_clips(clips_folder), Random(seed)
    windows = [window(clips, rng.choice(SHAPES), rng).half() for _ in range(WINDOWS)]
    spatial_SP = _fit_spatial(windows)
    parts = torch.cat([_some(spatial_components(w.float(), spatial_SP)) for w in windows])
    temporal, planes_C, energy_C = _fit_temporal(parts)
    latents_NC = torch.einsum("cts,nts->nc", temporal, parts)
    mean_C, deviation_C = latents_NC.mean(0), latents_NC.std(0)
    decoder, bias = _fit_decoder(windows, spatial_SP, temporal)
    codec = Codec(
        spatial_SP,
        temporal,
        decoder,
        bias,
        mean_C,
        deviation_C / amplitude(energy_C),
        planes_C,
        energy_C,
    )
    codec.save(path)
    return codec


def _some(parts: Tensor) -> Tensor:
    parts = parts.flatten(0, 2)
    return parts[torch.randperm(len(parts))[:PATCHES_PER_WINDOW]]


def _fit_spatial(windows: list[Tensor]) -> Tensor:
    pixels = torch.cat([_some(patches(w.float()))[:, :: STEP // 2] for w in windows]).flatten(0, 1)
    bases = []
    for plane, count in enumerate(ENCODED):
        samples_NP = pixels[:, plane]
        _, vectors = torch.linalg.eigh(samples_NP.T @ samples_NP / len(samples_NP))
        bases.append(vectors[:, -count:].flip(1).T)
    return torch.cat(bases)


def _fit_temporal(parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components of each plane over eight frames; the most energetic in RGB are kept."""
    to_rgb = torch.linalg.inv(YCC).square().sum(0).sqrt()
    planes = plane_of(ENCODED)
    rows, energies, owners = [], [], []
    for plane in range(3):
        chosen = planes == plane
        samples = parts[:, :, chosen].flatten(1)
        samples = samples - samples.mean(0)
        values, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
        block = torch.zeros(len(values), STEP, len(planes))
        block[:, :, chosen] = vectors.T.unflatten(1, (STEP, -1))
        rows.append(block)
        energies.append(values.clamp(min=0).sqrt() * to_rgb[plane])
        owners.append(torch.full((len(values),), plane))
    energy = torch.cat(energies)
    best = energy.argsort(descending=True)[:CHANNELS]
    return torch.cat(rows)[best], torch.cat(owners)[best].float(), energy[best]


def _fit_decoder(
    windows: list[Tensor], spatial_SP: Tensor, temporal: Tensor
) -> tuple[Tensor, Tensor]:
    """Least squares from a latent and its neighbours to the components of its eight frames."""
    columns = decoded_rows()
    width = CHANNELS * 9 + 1
    squares, products = torch.zeros(width, width), torch.zeros(width, STEP * len(columns))
    for frames in windows:
        parts = spatial_components(frames.float(), spatial_SP)
        latents = torch.einsum("cts,ghwts->gchw", temporal, parts)
        around = unfold(pad(latents, (1, 1, 1, 1), mode="replicate"), 3)
        around = around.transpose(1, 2).flatten(0, 1)
        around = torch.cat([around, torch.ones(len(around), 1)], 1)
        squares += around.T @ around
        products += around.T @ parts[..., columns].flatten(0, 2).flatten(1)
    ridge = RIDGE * squares.diagonal().mean()
    solved = torch.linalg.solve(squares + ridge * torch.eye(width), products)
    weight = solved[:-1].T.reshape(STEP, len(columns), CHANNELS, 3, 3)
    return weight, solved[-1].view(STEP, -1)

"""Write the linear codec and upsampler into the weights of diffusers' networks.

Both networks normalise and bend what passes through them. A channel that holds a large constant
makes the norms constants too, and keeps all else where SiLU is a straight line (or pairs z and -z,
for silu(z) - silu(-z) = z). Hence float32 only: a constant of this size drowns half precision.
"""

import math

import torch
from diffusers import AutoencoderKLLTX2Video
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoCausalConv3d
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel
from einops import rearrange
from torch import Tensor, nn

from rotoscope.generation.mini.codec import (
    CHANNELS,
    DECODED,
    ENCODED,
    SIDE,
    STEP,
    YCC,
    Codec,
    decoded_basis,
    plane_of,
)

CONSTANT = 1e6
WIDTH = sum(DECODED) + 1
GROUPS = 32
# Of each of the upsampler's groups: four signals, their negatives, a constant and its negative.
SIGNALS = CHANNELS // GROUPS
GROUP = 2 * SIGNALS + 2


def make_vae(codec: Codec) -> AutoencoderKLLTX2Video:
    vae = _empty_vae()
    encoder, decoder = vae.encoder, vae.decoder
    # A causal convolution sees the present at its last tap, any other at its middle one.
    _set(encoder.conv_in, _to_patch_order(codec.spatial_SP, ENCODED), time=2)
    encoder.conv_in.conv.bias[-1] = CONSTANT
    _set(encoder.conv_out, _temporal(codec) * 2 * CONSTANT / math.sqrt(CHANNELS), time=2)
    weight, bias = _decoder_in(codec)
    decoder.conv_in.conv.weight[: len(weight), :, 1] = weight
    decoder.conv_in.conv.bias[:] = CONSTANT
    decoder.conv_in.conv.bias[: len(bias)] = bias
    kept_SP, _ = decoded_basis(codec.spatial_SP)
    basis = _from_patch_order(kept_SP) * 2 * CONSTANT / math.sqrt(WIDTH)
    _set(decoder.conv_out, basis, time=1)
    vae.latents_mean.copy_(codec.mean_C)
    vae.latents_std.copy_(codec.std_C)
    return vae


def make_upsampler(weight: Tensor, codec: Codec) -> LTX2LatentUpsamplerModel:
    """Around the fitted map: to deviations from the mean and back."""
    model = LTX2LatentUpsamplerModel(
        in_channels=CHANNELS, mid_channels=GROUPS * GROUP, num_blocks_per_stage=0
    ).requires_grad_(requires_grad=False)
    _zero(model)
    unit_C = codec.std_C * codec.amplitude_C
    plus = torch.tensor([g * GROUP + i for g in range(GROUPS) for i in range(SIGNALS)])
    minus, channels = plus + SIGNALS, torch.arange(CHANNELS)
    first, last = model.initial_conv, model.final_conv
    for rows, sign in ((plus, 1), (minus, -1)):
        first.weight[rows, channels, 1, 1, 1] = sign / unit_C
        first.bias[rows] = -sign * codec.mean_C / unit_C
        # silu(z) - silu(-z) = z, and the norm has divided z by the group's deviation.
        model.upsampler.conv.weight[: 4 * CHANNELS, rows] = (
            sign * weight * CONSTANT * math.sqrt(2 / GROUP)
        )
    constants = torch.arange(GROUPS) * GROUP + 2 * SIGNALS
    first.bias[constants], first.bias[constants + 1] = CONSTANT, -CONSTANT
    model.initial_norm.weight.fill_(1)
    last.weight[channels, channels, 1, 1, 1] = unit_C
    last.bias.copy_(codec.mean_C)
    return model


def _empty_vae() -> AutoencoderKLLTX2Video:
    blocks = 3
    vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=tuple(CHANNELS * 2**i for i in range(1, blocks + 1)),
        down_block_types=("LTX2VideoDownBlock3D",) * blocks,
        decoder_block_out_channels=tuple(WIDTH * 2**i for i in range(1, blocks + 1)),
        layers_per_block=(0,) * (blocks + 1),
        decoder_layers_per_block=(0,) * (blocks + 1),
        spatio_temporal_scaling=(True,) * blocks,
        decoder_spatio_temporal_scaling=(True,) * blocks,
        decoder_inject_noise=(False,) * (blocks + 1),
        downsample_type=("temporal",) * blocks,
        upsample_type=("temporal",) * blocks,
        upsample_residual=(True,) * blocks,
        upsample_factor=(2,) * blocks,
        patch_size=SIDE,
        encoder_causal=True,
        decoder_causal=False,
        decoder_spatial_padding_mode="replicate",
        spatial_compression_ratio=SIDE,
        temporal_compression_ratio=STEP,
    )
    _zero(vae)
    return vae


def _zero(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(False).zero_()  # noqa: FBT003 - torch names it otherwise


def _set(layer: LTX2VideoCausalConv3d, matrix: Tensor, *, time: int) -> None:
    """One tap of a 3 x 3 x 3 convolution, in the middle of space."""
    rows, columns = matrix.shape
    layer.conv.weight[:rows, :columns, time, 1, 1] = matrix


def _to_patch_order(spatial_SP: Tensor, counts: tuple[int, int, int]) -> Tensor:
    """S x 3 * P: from RGB pixels, column by column as the class unfolds patches."""
    rows = YCC[plane_of(counts)]
    columnwise = rearrange(spatial_SP, "s (y x) -> s (x y)", y=SIDE)
    return torch.einsum("sc,sp->scp", rows, columnwise).flatten(1)


def _from_patch_order(kept_SP: Tensor) -> Tensor:
    """3 * P x S, the decoder's way back."""
    columns = torch.linalg.inv(YCC)[:, plane_of(DECODED)]
    columnwise = rearrange(kept_SP, "s (y x) -> s (x y)", y=SIDE)
    return torch.einsum("cs,sp->cps", columns, columnwise).flatten(0, 1)


def _bits(step: int) -> tuple[int, int, int]:
    """Of the place of a frame among eight: finest first."""
    return step % 2, step // 2 % 2, step // 4


def _temporal(codec: Codec) -> Tensor:
    """C x 8 * 128, in the order in which the down-samplers stack frames into channels."""
    matrix = torch.zeros(CHANNELS, STEP * CHANNELS)
    components = codec.temporal.shape[-1]
    for step in range(STEP):
        fine, middle, coarse = _bits(step)
        columns = torch.arange(components) * STEP + fine * 4 + middle * 2 + coarse
        matrix[:, columns] = codec.temporal[:, step]
    return matrix


def _decoder_in(codec: Codec) -> tuple[Tensor, Tensor]:
    """Rows in the order in which the up-samplers take frames out of channels."""
    components = codec.decoder.shape[1]
    weight = torch.zeros(STEP * components, *codec.decoder.shape[2:])
    bias = torch.zeros(STEP * components)
    for step in range(STEP):
        fine, middle, coarse = _bits(step)
        rows = torch.arange(components) * STEP + fine * 4 + middle * 2 + coarse
        weight[rows], bias[rows] = codec.decoder[step], codec.bias[step]
    return weight, bias

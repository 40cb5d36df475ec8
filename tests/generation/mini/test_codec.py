"""The linear codec and upsampler: what diffusers' classes make of them, and how good they are."""

from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pixel_shuffle

from rotoscope.generation.codec import decode_frames, encode_pixels, upsample
from rotoscope.generation.mini.codec import CHANNELS, YCC, Codec
from rotoscope.generation.mini.make import DATA
from rotoscope.generation.mini.packed import load_packed
from rotoscope.generation.pipeline import Pipeline
from rotoscope.media.clip import Size
from rotoscope.media.decode import decode

SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(DATA / "codec.safetensors")


@pytest.fixture(scope="module")
def frames_TCHW() -> Tensor:  # noqa: N802 - a shape
    """Seventeen frames of the sample clip at the size that is usual for mini, in [-1, 1]."""
    clip_THWC = decode(SAMPLE, frames=17, fps=Fraction(25), size=Size(448, 256))
    return torch.from_numpy(clip_THWC).permute(0, 3, 1, 2).float() / 127.5 - 1


def psnr(one: Tensor, other: Tensor) -> float:
    """In dB, of pixels in [-1, 1]."""
    error = (one.clamp(-1, 1) - other.clamp(-1, 1)).square().mean()
    return float(10 * torch.log10(4 / error))


def test_diffusers_encoder_is_the_linear_one(
    pipeline: Pipeline, codec: Codec, frames_TCHW: Tensor
) -> None:
    """Its norms and activations change next to nothing of latents up to 14."""
    expected_CGHW = codec.normalize(codec.encode(frames_TCHW))

    latents_BCFHW = encode_pixels(pipeline.models, frames_TCHW.transpose(0, 1)[None])

    assert latents_BCFHW.shape == (1, CHANNELS, 3, 8, 14)
    assert expected_CGHW.abs().max() > 10
    torch.testing.assert_close(latents_BCFHW[0], expected_CGHW, rtol=1e-3, atol=1e-3)


def test_diffusers_decoder_is_the_linear_one(
    pipeline: Pipeline, codec: Codec, frames_TCHW: Tensor
) -> None:
    """To a tenth of a grey level."""
    latents_CGHW = codec.encode(frames_TCHW)

    pixels_BCTHW = decode_frames(pipeline.models, codec.normalize(latents_CGHW)[None])

    assert pixels_BCTHW.shape == (1, 3, 17, 256, 448)
    difference = pixels_BCTHW[0].transpose(0, 1) - codec.decode(latents_CGHW)
    assert difference.abs().max() < 0.1 * 2 / 255


def test_pictures_come_through(codec: Codec, frames_TCHW: Tensor) -> None:
    """Whole, and no frame of them much worse than the others."""
    decoded_TCHW = codec.decode(codec.encode(frames_TCHW))

    each = [psnr(*pair) for pair in zip(decoded_TCHW, frames_TCHW, strict=True)]
    assert psnr(decoded_TCHW, frames_TCHW) > 24
    assert min(each) > max(each) - 2


def test_grey_is_a_map_of_latents(codec: Codec, frames_TCHW: Tensor) -> None:
    """Luma and chroma have channels of their own: a picture without chroma changes those alone."""
    luma_TCHW = torch.einsum("c,tcyx->tyx", YCC[0], frames_TCHW)[:, None]
    colour_CGHW, grey_CGHW = (
        codec.encode(frames) for frames in (frames_TCHW, luma_TCHW.expand(-1, 3, -1, -1))
    )

    luma_C = codec.planes_C == 0
    torch.testing.assert_close(grey_CGHW[luma_C], colour_CGHW[luma_C], rtol=1e-3, atol=1e-3)
    assert colour_CGHW[~luma_C].abs().max() > 1
    assert grey_CGHW[~luma_C].abs().max() < 1e-3


def test_normalised_latents_have_unit_variance(codec: Codec, frames_TCHW: Tensor) -> None:
    """Over all channels and clips; the first ones are larger, and normalising can be undone."""
    latents_CGHW = codec.encode(frames_TCHW)
    normal_CGHW = codec.normalize(latents_CGHW)

    assert codec.amplitude_C.square().mean() == pytest.approx(1, rel=1e-5)
    assert codec.amplitude_C[0] > 5 * codec.amplitude_C[-1]
    assert 0.3 < normal_CGHW.square().mean() < 3
    torch.testing.assert_close(codec.denormalize(normal_CGHW), latents_CGHW, rtol=1e-4, atol=1e-4)


def test_diffusers_upsampler_is_the_fitted_map(
    pipeline: Pipeline, codec: Codec, frames_TCHW: Tensor
) -> None:
    """A convolution that gives four latents for one, in units of each channel's deviation."""
    half = encode_pixels(pipeline.models, halved(frames_TCHW))
    weight = load_packed(DATA / "upsampler.safetensors")["weight"]
    unit_C = codec.amplitude_C.view(-1, 1, 1, 1)

    flat_FCHW = (half[0] / unit_C).transpose(0, 1)
    expected_FCHW = pixel_shuffle(conv2d(flat_FCHW, weight, padding=1), 2)

    larger = upsample(pipeline.models, half)[0]
    torch.testing.assert_close(larger / unit_C, expected_FCHW.transpose(0, 1), rtol=1e-3, atol=1e-2)


def test_twice_the_size_is_near_what_it_should_be(
    pipeline: Pipeline, codec: Codec, frames_TCHW: Tensor
) -> None:
    """Large shapes come through; fine ones, which half the size has not, are left to the model."""
    half = encode_pixels(pipeline.models, halved(frames_TCHW))
    full = encode_pixels(pipeline.models, frames_TCHW.transpose(0, 1)[None])

    larger = upsample(pipeline.models, half)

    assert larger.shape == full.shape
    error_C, power_C = (x[0].square().flatten(1).mean(1) for x in (larger - full, full))
    assert error_C[:16].sum() < 0.4 * power_C[:16].sum()
    assert error_C.sum() < 0.7 * power_C.sum()
    assert psnr(codec.decode(codec.denormalize(larger[0])), frames_TCHW) > 21


def halved(frames_TCHW: Tensor) -> Tensor:
    """Half the height and width, 1 x C x T x H x W."""
    return interpolate(frames_TCHW, scale_factor=0.5, mode="area").transpose(0, 1)[None]

"""Pixels and sound to latents and back, and latents to twice their size.

Latents are handed around normalised (zero mean, unit variance by the codec's own statistics) in
float32; only the upsampler and the decoders see them as the codec made them.

    F  latent frames           H, W  latent height and width
    T  frames                  L  audio latents, 25 a second
    S  samples                 M  mel bins of an audio latent
"""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import interpolate

from rotoscope.generation.models import Models
from rotoscope.generation.timesteps import replaced
from rotoscope.media.clip import Audio, Frames, Size


def encode_frames(models: Models, frames_THWC: Frames, size: Size | None = None) -> Tensor:
    """8m+1 frames to latents of 1 x C x (m+1) x H x W; `size` in pixels, or that of the frames."""
    pixels_TCHW = rearrange(torch.from_numpy(frames_THWC), "t h w c -> t c h w")
    pixels_TCHW = pixels_TCHW.to(models.device, torch.float32) / 127.5 - 1
    if size is not None and pixels_TCHW.shape[2:] != (size.height, size.width):
        pixels_TCHW = interpolate(pixels_TCHW, size=(size.height, size.width), mode="area")
    return encode_pixels(models, rearrange(pixels_TCHW, "t c h w -> 1 c t h w"))


def encode_pixels(models: Models, pixels_BCTHW: Tensor) -> Tensor:
    """The same for pixels in [-1, 1]; takes the mode of the codec's distribution."""
    vae = models.vae
    with models.placement.using("vae"):
        latents_BCFHW = vae.encode(pixels_BCTHW.to(vae.dtype)).latent_dist.mode()
    return normalize(models, latents_BCFHW)


def decode_frames(models: Models, latents_BCFHW: Tensor, *, tiled: bool = False) -> Tensor:
    """Latents to pixels, 1 x 3 x T x H x W in about [-1, 1].

    Where `tiled`, in tiles that overlap, for less memory; each has all frames, since diffusers'
    tiles along time put all after the first a frame late.
    """
    vae = models.vae
    codes_BCFHW = denormalize(models, latents_BCFHW).to(vae.dtype)
    with models.placement.using("vae"), replaced(vae, "use_tiling", tiled):
        pixels: Tensor = vae.decode(codes_BCFHW).sample
    return pixels


def to_frames(pixels_BCTHW: Tensor) -> Frames:
    scaled = (pixels_BCTHW.float() * 127.5 + 127.5).round_().clamp_(0, 255).to(torch.uint8)
    frames: Frames = rearrange(scaled, "1 c t h w -> t h w c").cpu().numpy()
    return frames


def decode_audio(models: Models, audio_BLD: Tensor) -> Audio:
    """Audio latents to sound; it ends some 30 ms before the picture, and is padded when muxed."""
    vae, vocoder = models.audio_vae, models.vocoder
    mel_bins = vae.config.mel_bins // vae.mel_compression_ratio
    latents_BLD = audio_BLD * vae.latents_std.to(audio_BLD) + vae.latents_mean.to(audio_BLD)
    latents_BCLM = rearrange(latents_BLD, "b l (c m) -> b c l m", m=mel_bins)
    with models.placement.using("audio_vae", "vocoder"):
        mel = vae.decode(latents_BCLM.to(vae.dtype)).sample
        samples_CS = vocoder(mel)[0].float().clamp(-1, 1).cpu().numpy()
    return Audio(samples_CS.astype(np.float32), vocoder.config.output_sampling_rate)


def audio_shape(models: Models, duration_s: float) -> tuple[int, int, int]:
    """Rows, latents and channels of the sound for `duration_s` seconds."""
    vae = models.audio_vae
    rate = vae.config.sample_rate / vae.config.mel_hop_length / vae.temporal_compression_ratio
    channels = vae.config.latent_channels * vae.config.mel_bins // vae.mel_compression_ratio
    return 1, round(duration_s * rate), channels


def upsample(models: Models, latents_BCFHW: Tensor) -> Tensor:
    """Latents of twice the height and width."""
    upsampler = models.upsampler
    codes_BCFHW = denormalize(models, latents_BCFHW).to(upsampler.dtype)
    with models.placement.using("latent_upsampler"):
        larger_BCFHW = upsampler(codes_BCFHW).float()
    return normalize(models, larger_BCFHW)


def normalize(models: Models, latents_BCFHW: Tensor) -> Tensor:
    mean, std = _statistics(models, latents_BCFHW)
    scale: float = models.vae.config.scaling_factor
    return ((latents_BCFHW - mean) * scale / std).float()


def denormalize(models: Models, latents_BCFHW: Tensor) -> Tensor:
    mean, std = _statistics(models, latents_BCFHW)
    scale: float = models.vae.config.scaling_factor
    return latents_BCFHW * std / scale + mean


def _statistics(models: Models, like: Tensor) -> tuple[Tensor, Tensor]:
    vae = models.vae
    return (
        vae.latents_mean.view(1, -1, 1, 1, 1).to(like),
        vae.latents_std.view(1, -1, 1, 1, 1).to(like),
    )

"""From a request and the facts of its source to everything a generation needs; pure arithmetic.

LTX-2 makes 8k+1 frames whose sides are multiples of 32 pixels: a latent frame stands for eight
frames (the first for one), a token for 32 x 32 pixels. Two-stage generation starts at half the
size, hence multiples of 64. Positions beyond 20 seconds were never trained.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rotoscope.generation.named_loras import ic_lora_of
from rotoscope.generation.weights import Checkpoint
from rotoscope.media.facts import Size, VideoInfo
from rotoscope.schema.input import Size as AskedSize
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Adjustment

FRAME_STEP = 8
SIDE_STEP = 32
MIN_FRAMES = 9
MAX_FRAMES = 481
MAX_SECONDS = 20
MAX_SIDE = 2048
MIN_FPS = Fraction(1)
MAX_FPS = Fraction(60)
NTSC_RATES = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60))
NTSC_TOLERANCE = Fraction(1, 1000)
NO_REFERENCE = "an IC-LoRA acts on the source, and video_strength 0 leaves the source out"

NAMED_SIZES: dict[str, Size] = {
    "square_hd": Size(1024, 1024),
    "square": Size(512, 512),
    "portrait_4_3": Size(768, 1024),
    "portrait_16_9": Size(576, 1024),
    "landscape_4_3": Size(1024, 768),
    "landscape_16_9": Size(1024, 576),
}

# Sigmas the distilled model was trained on. Source: Lightricks' published LTX-2 pipelines.
DISTILLED_SIGMAS = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875)

# The schedule's shift is that of 4,096 tokens at any size, and the last sigma before 0 is 0.1.
SHIFT = math.exp(2.05)
LAST_SIGMA = 0.1


@dataclass(frozen=True, slots=True)
class Pass:
    """One walk down a noise schedule; a two-stage generation has two."""

    stage: str
    size: Size
    sigmas: tuple[float, ...]
    """Noise levels, falling, without the final 0; one step each."""
    guidance_scale: float
    reference: bool
    """Whether the source's tokens take part."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The part of the source to read: `frames` (8m+1) pictures of `size`.

    The size is that of the largest pass that sees it; a smaller pass sees it shrunk.
    """

    size: Size
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    prompt: str
    negative_prompt: str
    size: Size
    frames: int
    fps: Fraction
    seed: int
    multiscale: bool
    audio: bool
    first_frame: bool
    strength: float
    passes: tuple[Pass, ...]
    reference: Reference | None
    warnings: tuple[Adjustment, ...]

    @property
    def steps(self) -> int:
        """Denoising steps of the first pass."""
        return len(self.passes[0].sigmas)

    @property
    def guidance_scale(self) -> float:
        """Guidance of the first pass; the second has at most the checkpoint's `refine_guidance`."""
        return self.passes[0].guidance_scale

    @property
    def costs(self) -> dict[str, float]:
        """Estimated work of each stage, in order; the unit is one token through the model once.

        Ratios from a count of LTX-2 19B's arithmetic: attention equals the linear layers at about
        30,000 tokens; decoding a token's pixels costs 0.37 of its way through the transformer,
        encoding 0.86, upsampling 0.05; a prompt costs as much as 900 tokens.
        """
        encode = sum(self._reference_tokens(one) for one in self.passes)
        full = _tokens(self.size, self.frames)
        first, *second = (self._pass_cost(one) for one in self.passes)
        costs = {"text": 1800.0, "condition": 0.86 * encode, "denoise": first}
        if second:
            costs |= {"upsample": 0.05 * full, "refine": second[0]}
        return costs | {"decode": 0.37 * full}

    def _pass_cost(self, one: Pass) -> float:
        tokens = _tokens(one.size, self.frames) + self._reference_tokens(one)
        rows = 2 if one.guidance_scale > 1 else 1
        return len(one.sigmas) * rows * tokens * (1 + tokens / 30_000)

    def _reference_tokens(self, one: Pass) -> int:
        if self.reference is None or not one.reference:
            return 0
        return _tokens(one.size, self.reference.frames)


def make_plan(
    request: VideoToVideoInput, info: VideoInfo, checkpoint: Checkpoint, *, max_area: int | None
) -> Plan:
    """Decide frames, fps, size and steps; each value that differs from what was asked is a warning.

    Args:
        request: A valid request.
        info: What probing its source found.
        checkpoint: The model that will run; it decides the schedule and the default area.
        max_area: The operator's cap on the pixels of a frame for `video_size: auto`.
    """
    warnings = _Warnings()
    fps = _fps(request, info, warnings)
    shown = max(1, math.floor(Fraction(info.duration_s).limit_denominator(1_000_000) * fps))
    frames = _frames(request, shown, fps, warnings)
    size = _size(request, info, max_area or checkpoint.max_area, warnings)
    passes = _passes(request, size, checkpoint, warnings)
    reference = None
    if request.video_strength > 0:
        seen = [one.size for one in passes if one.reference]
        reference = Reference(seen[-1], _snap_down(min(shown, frames)))
        warnings.note(
            "video_url", frames, reference.frames, "the source ends earlier; the rest is free"
        )
    elif request.ic_lora_scale > 0 and (control := ic_lora_of(request)):
        warnings.note("ic_lora", control, "none", NO_REFERENCE)
    return Plan(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        size=size,
        frames=frames,
        fps=fps,
        seed=request.seed,
        multiscale=request.use_multiscale,
        audio=request.generate_audio,
        first_frame=request.image_url is not None,
        strength=request.video_strength,
        passes=passes,
        reference=reference,
        warnings=tuple(warnings),
    )


def dev_sigmas(steps: int) -> tuple[float, ...]:
    """The full model's schedule: `steps` falling sigmas from 1.0 to 0.1.

    A straight line, shifted by e^2.05 towards noise, then stretched so that the last is 0.1; the
    same at every size, unlike diffusers' default, which shifts by the number of tokens.
    """
    line = [1 - i / steps for i in range(steps)]
    shifted = [SHIFT / (SHIFT + (1 / s - 1)) for s in line]
    stretch = (1 - shifted[-1]) / (1 - LAST_SIGMA)
    return tuple(1 - (1 - s) / stretch for s in shifted)


class _Warnings(list[Adjustment]):
    def note(self, field: str, asked: Any, used: Any, why: str) -> None:
        if asked != used:
            self.append(Adjustment(field=field, asked=asked, used=used, why=why))


def _snap_down(frames: int) -> int:
    return (frames - 1) // FRAME_STEP * FRAME_STEP + 1


def _tokens(size: Size, frames: int) -> int:
    return size.area // SIDE_STEP**2 * ((frames - 1) // FRAME_STEP + 1)


def _fps(request: VideoToVideoInput, info: VideoInfo, warnings: _Warnings) -> Fraction:
    if not request.match_input_fps:
        return _exact(request.fps, warnings)
    fps = min(max(info.fps, MIN_FPS), MAX_FPS)
    warnings.note(
        "match_input_fps", str(info.fps), str(fps), "the source's rate is outside 1 to 60"
    )
    return fps


def _exact(fps: float, warnings: _Warnings) -> Fraction:
    """A rate as a fraction; 23.976, 29.97 and 59.94 stand for multiples of 1000/1001."""
    ntsc = min(NTSC_RATES, key=lambda rate: abs(rate - Fraction(fps)))
    if abs(ntsc - Fraction(fps)) >= NTSC_TOLERANCE:
        return Fraction(fps).limit_denominator(1001)
    warnings.note("fps", fps, str(ntsc), "the exact rate that this decimal stands for")
    return ntsc


def _frames(request: VideoToVideoInput, shown: int, fps: Fraction, warnings: _Warnings) -> int:
    most = min(MAX_FRAMES, _snap_down(math.floor(MAX_SECONDS * fps) + 1))
    if request.match_video_length:
        asked, why = shown, "the source's frames at this rate, snapped down to 8k+1"
        frames = _snap_down(shown)
    else:
        asked, why = request.num_frames, "snapped to the nearest 8k+1"
        frames = _snap_down(asked + FRAME_STEP // 2)
    if frames > most:
        frames, why = most, f"at most {MAX_FRAMES} frames and {MAX_SECONDS} seconds"
    if frames < MIN_FRAMES:
        frames, why = MIN_FRAMES, f"at least {MIN_FRAMES} frames"
    warnings.note("num_frames", asked, frames, why)
    return frames


def _size(request: VideoToVideoInput, info: VideoInfo, max_area: int, warnings: _Warnings) -> Size:
    multiple = SIDE_STEP * (2 if request.use_multiscale else 1)
    asked = info.size
    shrink = 1.0
    if isinstance(request.video_size, AskedSize):
        asked = Size(request.video_size.width, request.video_size.height)
    elif request.video_size != "auto":
        asked = NAMED_SIZES[request.video_size]
    else:
        shrink = min(1.0, math.sqrt(max_area / asked.area))
    size = Size(
        _snap_side(asked.width * shrink, multiple), _snap_side(asked.height * shrink, multiple)
    )
    why = f"sides are multiples of {multiple}, at most {MAX_SIDE}"
    if shrink < 1:
        why += f"; at most about {max_area} pixels with video_size auto"
    warnings.note("video_size", str(asked), str(size), why)
    return size


def _snap_side(side: float, multiple: int) -> int:
    return min(max(round(side / multiple), 1) * multiple, MAX_SIDE)


def _passes(
    request: VideoToVideoInput, size: Size, checkpoint: Checkpoint, warnings: _Warnings
) -> tuple[Pass, ...]:
    sigmas, guidance = dev_sigmas(request.num_inference_steps), request.guidance_scale
    if checkpoint.distilled:
        sigmas, guidance = DISTILLED_SIGMAS, 1.0
        why = f"{checkpoint.name} has a fixed schedule and needs no guidance"
        warnings.note("num_inference_steps", request.num_inference_steps, len(sigmas), why)
        warnings.note("guidance_scale", request.guidance_scale, guidance, why)
    reference = request.video_strength > 0
    if not request.use_multiscale:
        return (Pass("denoise", size, sigmas, guidance, reference),)
    half = Size(size.width // 2, size.height // 2)
    reference_again = reference and checkpoint.refine_sees_reference
    guidance_again = min(guidance, checkpoint.refine_guidance)
    return (
        Pass("denoise", half, sigmas, guidance, reference),
        Pass("refine", size, checkpoint.refine_sigmas, guidance_again, reference_again),
    )

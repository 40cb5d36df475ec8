"""From a request and the facts of its source to everything a generation needs; pure arithmetic.

LTX-2 makes 8k+1 frames whose sides are multiples of 32 pixels: a latent frame stands for eight
frames (the first for one), a token for 32 x 32 pixels. Two-stage generation starts at half the
size, hence multiples of 64. Positions beyond 20 seconds were never trained.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from rotoscope.generation.named_loras import ic_lora_of, is_ic_lora, named_loras
from rotoscope.generation.weights import Checkpoint
from rotoscope.media.facts import Size, VideoInfo
from rotoscope.media.formats import adjustments, has_sound
from rotoscope.schema.hub import HubReference
from rotoscope.schema.input import Preprocessor, VideoToVideoInput
from rotoscope.schema.input import Size as AskedSize
from rotoscope.schema.output import Adjustment
from rotoscope.settings import Profile, Settings

FRAME_STEP = 8
SIDE_STEP = 32
MIN_FRAMES = 9
MAX_FRAMES = 481
MAX_SECONDS = 20
MAX_SIDE = 2048
MAX_DOWNSCALE = 8
MIN_FPS = Fraction(1)
MAX_FPS = Fraction(60)
NTSC_RATES = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60))
NTSC_TOLERANCE = Fraction(1, 1000)
_THREE_STEPS = "the operator chose the Detailer's published way: three steps at the full size"
_SDEDIT = "the operator chose to start from the source, which takes the place of the first steps"
NO_SOURCE = "video_strength 0 leaves the source out"
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
SAME_SIGMA = 1e-6


# How the source takes part: not at all; as tokens to look at; as what noise is added to and
# taken from; or as both, which is how the Detailer was published.
Way = Literal["free", "reference", "sdedit", "three-step"]


SKIP_BELOW: Mapping[Profile, float] = {"exact": 0.0, "fast": 0.05, "turbo": 0.0}
"""`skip_below` of each profile, where no setting says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the operator decided for every request; each has a setting of its name."""

    plain_video: Literal["reference", "sdedit"] = "reference"
    detailer: Literal["generic", "three-step"] = "generic"
    stg_scale: float = 0.0
    profile: Profile = "exact"
    skip_below: float = 0.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels at which guesses are guided, both included."""
    decode_tiles: bool = False

    def guides(self, sigma: float) -> bool:
        """Whether a step at this noise level is guided, if its pass is."""
        low, high = self.guidance_interval
        return low - SAME_SIGMA <= sigma <= high + SAME_SIGMA

    @classmethod
    def of(cls, settings: Settings) -> "Choices":
        skip_below = settings.skip_below
        if skip_below is None:
            skip_below = SKIP_BELOW[settings.profile]
        return cls(
            profile=settings.profile,
            skip_below=skip_below,
            plain_video=settings.plain_video,
            detailer=settings.detailer,
            stg_scale=settings.stg_scale,
            guidance_interval=settings.guidance_interval,
            decode_tiles=settings.decode_tiles,
        )


@dataclass(frozen=True, slots=True)
class InContext:
    """What the IC-LoRAs of a request ask of its plan."""

    count: int = 0
    downscale: int = 1
    """How many times smaller than the pass they want the reference, 1 to MAX_DOWNSCALE."""
    detailer_alone: bool = False
    """Whether the checkpoint's Detailer is the one that acts."""


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
    from_source: bool = False
    """Whether it starts from the source's latents, noised to the first sigma."""
    stg_scale: float = 0.0
    """Spatio-temporal guidance; 0 is none."""

    @property
    def rows(self) -> int:
        """Rows of a batch through the model: the prompt, the negative one, the perturbed one."""
        return 1 + (self.guidance_scale > 1) + (self.stg_scale > 0)


@dataclass(frozen=True, slots=True)
class Reference:
    """The part of the source to read: `frames` (8m+1) pictures of `size`.

    The size is the largest at which it is used; where it is smaller, it is shrunk.
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
    expand: bool
    """Whether a language model writes a longer prompt first."""
    preprocessor: Preprocessor
    """What turns the source into a control video first."""
    strength: float
    way: Way
    downscale: int
    """How many times smaller than its pass a reference is."""
    choices: Choices
    """What the operator decided."""
    passes: tuple[Pass, ...]
    reference: Reference | None
    warnings: tuple[Adjustment, ...]

    @property
    def steps(self) -> int:
        """Denoising steps of the first pass."""
        return len(self.passes[0].sigmas)

    @property
    def most_rows(self) -> int:
        """Guesses of the step that needs most."""
        return max(one.rows for one in self.passes)

    @property
    def guidance_scale(self) -> float:
        """Guidance of the first pass; the second has at most the checkpoint's `refine_guidance`."""
        return self.passes[0].guidance_scale

    @property
    def costs(self) -> dict[str, float]:
        """Estimated work of each stage, in order; the unit is one token through the model once.

        Ratios from a count of LTX-2 19B's arithmetic: attention equals the linear layers at about
        30,000 tokens; decoding a token's pixels costs 0.37 of its way through the transformer,
        encoding 0.86, upsampling 0.05; a prompt costs as much as 900 tokens. Writing a
        longer prompt is bound by memory: a card reads the text encoder once for each of about 300
        tokens, and each reading takes as long as 200 tokens through the transformer. The models of
        preprocessors run beside the card, and take as long for a frame as it does for 1,000 tokens.
        """
        seen = self.reference.frames if self.reference else 0
        encode = sum(_tokens(size, seen) for size in self.source_sizes)
        full = _tokens(self.size, self.frames)
        first, *second = (self._pass_cost(one) for one in self.passes)
        costs = {} if self.preprocessor == "none" else {"preprocess": self._preprocess_cost(seen)}
        costs |= {"expand": 60_000.0} if self.expand else {}
        costs |= {"text": 1800.0, "condition": 0.86 * encode, "denoise": first}
        if second:
            costs |= {"upsample": 0.05 * full, "refine": second[0]}
        return costs | {"decode": 0.37 * full}

    @property
    def source_sizes(self) -> tuple[Size, ...]:
        """The sizes at which passes use the source, each once."""
        sizes = [one.size for one in self.passes if one.from_source]
        sizes += [self.seen_at(one) for one in self.passes if one.reference]
        return tuple(dict.fromkeys(sizes))

    def seen_at(self, one: Pass) -> Size:
        """The size of the reference in a pass."""
        return Size(one.size.width // self.downscale, one.size.height // self.downscale)

    def tokens(self, one: Pass) -> int:
        """Video tokens of a row of `one`: the clip's, and the reference's."""
        clip = _tokens(one.size, self.frames)
        if self.reference is None or not one.reference:
            return clip
        return clip + _tokens(self.seen_at(one), self.reference.frames)

    def _preprocess_cost(self, frames: int) -> float:
        return frames * (50.0 if self.preprocessor == "canny" else 1000.0)

    def _pass_cost(self, one: Pass) -> float:
        tokens = self.tokens(one)
        rows = sum(one.rows if self.choices.guides(sigma) else 1 for sigma in one.sigmas)
        return rows * tokens * (1 + tokens / 30_000)


def make_plan(  # noqa: PLR0913 - the last three are the operator's and the LoRAs' say
    request: VideoToVideoInput,
    info: VideoInfo,
    checkpoint: Checkpoint,
    *,
    max_area: int | None,
    choices: Choices | None = None,
    in_context: InContext | None = None,
) -> Plan:
    """Decide frames, fps, size and steps; each value that differs from what was asked is a warning.

    Args:
        request: A valid request.
        info: What probing its source found.
        checkpoint: The model that will run; it decides the schedule and the default area.
        max_area: The operator's cap on the pixels of a frame for `video_size: auto`.
        choices: What else the operator decided; None is every default.
        in_context: What the files of its IC-LoRAs say; None: as far as their names tell.
    """
    choices = choices or Choices()
    in_context = in_context or foreseen(request, checkpoint)
    warnings = _Warnings()
    way = _way(request, choices, in_context)
    multiscale = request.use_multiscale and way != "three-step"
    warnings.note("use_multiscale", request.use_multiscale, multiscale, _THREE_STEPS)
    fps = _fps(request, info, warnings)
    warnings.extend(adjustments(request, fps))
    shown = max(1, math.floor(Fraction(info.duration_s).limit_denominator(1_000_000) * fps))
    frames = _frames(request, shown, fps, warnings)
    downscale = in_context.downscale if way in {"reference", "three-step"} else 1
    multiple = SIDE_STEP * (2 if multiscale else 1) * downscale
    size = _size(request, info, max_area or checkpoint.max_area, multiple, warnings)
    first = _first_pass(request, size, checkpoint, choices, way, warnings)
    plan = Plan(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        size=size,
        frames=frames,
        fps=fps,
        seed=request.seed,
        multiscale=multiscale,
        audio=has_sound(request),
        first_frame=request.image_url is not None,
        expand=request.enable_prompt_expansion and checkpoint.writes_prompts,
        preprocessor="none" if way == "free" else request.preprocessor,
        strength=request.video_strength,
        way=way,
        downscale=downscale,
        choices=choices,
        passes=_in_two(first, checkpoint) if multiscale else (first,),
        reference=None,
        warnings=(),
    )
    reference = _reference(plan, shown, warnings)
    if way == "free" and request.ic_lora_scale > 0 and ic_lora_of(request):
        warnings.note("ic_lora", request.ic_lora, "none", NO_REFERENCE)
    warnings.note("preprocessor", request.preprocessor, plan.preprocessor, NO_SOURCE)
    why = f"the text encoder of {checkpoint.name} cannot write; the prompt is used as given"
    warnings.note("enable_prompt_expansion", request.enable_prompt_expansion, plan.expand, why)
    return replace(plan, reference=reference, warnings=tuple(warnings))


def foreseen(request: VideoToVideoInput, checkpoint: Checkpoint) -> InContext:
    """What can be told of a request's IC-LoRAs by their names, before their files are there."""
    entries = [lora for lora in request.loras if lora.scale > 0]
    entries += [named.lora for named in named_loras(request, checkpoint)]
    paths = [lora.path for lora in entries if is_ic_lora(lora.path, checkpoint)]
    return InContext(len(paths), detailer_alone=is_detailer(paths, checkpoint))


def is_detailer(paths: Sequence[str], checkpoint: Checkpoint) -> bool:
    """Whether `paths`, as written in a request, name the checkpoint's Detailer and nothing else."""
    detailer = checkpoint.ic_loras.get("detailer")
    references = [HubReference.parse(path) for path in paths]
    names = [one.repo if one else path for one, path in zip(references, paths, strict=True)]
    return names == [detailer]


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
    if abs(ntsc - Fraction(fps)) < NTSC_TOLERANCE:
        exact, why = ntsc, "the exact rate that this decimal stands for"
    else:
        exact, why = Fraction(fps).limit_denominator(1001), "the nearest fraction of whole numbers"
    if float(exact) != fps:
        warnings.note("fps", fps, str(exact), why)
    return exact


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


def _size(
    request: VideoToVideoInput,
    info: VideoInfo,
    max_area: int,
    multiple: int,
    warnings: _Warnings,
) -> Size:
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
    why = f"sides are multiples of {multiple}, at most {_most(multiple)}"
    if shrink < 1:
        why += f"; at most about {max_area} pixels with video_size auto"
    warnings.note("video_size", str(asked), str(size), why)
    return size


def _snap_side(side: float, multiple: int) -> int:
    return min(max(round(side / multiple), 1) * multiple, _most(multiple))


def _most(multiple: int) -> int:
    return MAX_SIDE // multiple * multiple


def _way(request: VideoToVideoInput, choices: Choices, in_context: InContext) -> Way:
    if request.video_strength == 0:
        return "free"
    if in_context.detailer_alone and choices.detailer == "three-step":
        return "three-step"
    plain = in_context.count == 0 and request.preprocessor == "none"
    if plain and choices.plain_video == "sdedit":
        return "sdedit"
    return "reference"


def _first_pass(  # noqa: PLR0913, PLR0917 - all that a schedule depends on
    request: VideoToVideoInput,
    size: Size,
    checkpoint: Checkpoint,
    choices: Choices,
    way: Way,
    warnings: _Warnings,
) -> Pass:
    """At the full size; its own schedule and guidance are noted where they are not as asked."""
    sigmas, guidance, stg = (
        dev_sigmas(request.num_inference_steps),
        request.guidance_scale,
        choices.stg_scale,
    )
    why = _THREE_STEPS
    if way == "three-step":
        sigmas, guidance, stg = checkpoint.refine_sigmas, 1.0, 0.0
    elif checkpoint.distilled or choices.profile == "turbo":
        sigmas, guidance, stg = DISTILLED_SIGMAS, 1.0, 0.0
        name = checkpoint.name if checkpoint.distilled else "the operator's profile turbo"
        why = f"{name} has a fixed schedule and needs no guidance"
    warnings.note("guidance_scale", request.guidance_scale, guidance, why)
    if way == "sdedit":
        sigmas, why = _below(sigmas, request.video_strength), _SDEDIT
    warnings.note("num_inference_steps", request.num_inference_steps, len(sigmas), why)
    seen, started = way in {"reference", "three-step"}, way in {"sdedit", "three-step"}
    return Pass("denoise", size, sigmas, guidance, seen, from_source=started, stg_scale=stg)


def _below(sigmas: tuple[float, ...], strength: float) -> tuple[float, ...]:
    """From the sigma at which a source of this strength starts, along the rest of `sigmas`."""
    start = 1 - (1 - LAST_SIGMA) * strength
    return (start, *(sigma for sigma in sigmas if sigma < start - SAME_SIGMA))


def _in_two(first: Pass, checkpoint: Checkpoint) -> tuple[Pass, ...]:
    """The pass at half its size, and a second that refines it."""
    half = Size(first.size.width // 2, first.size.height // 2)
    refining = Pass(
        "refine",
        first.size,
        checkpoint.refine_sigmas,
        min(first.guidance_scale, checkpoint.refine_guidance),
        first.reference and checkpoint.refine_sees_reference,
    )
    return replace(first, size=half), refining


def _reference(plan: Plan, shown: int, warnings: _Warnings) -> Reference | None:
    """What of the source is read, `shown` being the frames it has at the plan's rate."""
    sizes = plan.source_sizes
    if not sizes:
        return None
    frames = _snap_down(min(shown, plan.frames))
    started = any(one.from_source for one in plan.passes)
    why = "the source ends earlier; " + (
        "its last frame is held" if started else "the rest is free"
    )
    warnings.note("video_url", plan.frames, frames, why)
    return Reference(max(sizes, key=lambda size: size.area), frames)

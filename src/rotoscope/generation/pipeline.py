"""From a plan to a clip: text -> condition -> denoise -> (upsample -> refine) -> decode.

`generate` is that line. The pipeline knows no jobs, files or HTTP; it is given frames and gives
frames. It runs one generation at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from rotoscope.generation.codec import (
    audio_shape,
    decode_audio,
    decode_frames,
    encode_frames,
    to_frames,
    upsample,
)
from rotoscope.generation.condition import (
    Tokens,
    add_noise,
    append_reference,
    encode_first_frame,
    keep_first_frame,
    make_noise,
    start_tokens,
    target_latents,
)
from rotoscope.generation.denoise import AudioVideo, denoise, make_denoiser
from rotoscope.generation.loras import Lora, LoraFile, merged, open_lora
from rotoscope.generation.models import Models, open_models
from rotoscope.generation.plan import FRAME_STEP, SIDE_STEP, Pass, Plan
from rotoscope.generation.text import TextEmbeddings, encode_prompts
from rotoscope.generation.weights import Checkpoint
from rotoscope.media.clip import Clip, Frames, Size
from rotoscope.schema.output import Adjustment, LoraFacts
from rotoscope.settings import Settings

# Told the stage, its steps done and its steps; may raise to abort the generation.
Report = Callable[[str, int, int], None]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Generated:
    clip: Clip
    loras: tuple[LoraFacts, ...]
    warnings: tuple[Adjustment, ...] = ()


@dataclass(frozen=True, slots=True)
class Latents:
    """What a pass ends with: normalised latents of picture and sound."""

    video_BCFHW: Tensor
    audio_BLD: Tensor


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds a pass to the request."""

    text: TextEmbeddings
    image_HWC: Image | None
    reference_BCFHW: Tensor | None


class Pipeline:
    """One open checkpoint."""

    def __init__(self, models: Models) -> None:
        self.models = models

    @classmethod
    def open(cls, settings: Settings) -> "Pipeline":
        """Open the configured checkpoint; OperatorError says what is missing."""
        return cls(open_models(settings))

    @property
    def checkpoint(self) -> Checkpoint:
        return self.models.checkpoint

    @torch.inference_mode()
    def generate(
        self,
        plan: Plan,
        source_THWC: Frames | None,
        image_HWC: Image | None,
        loras: Sequence[LoraFile],
        report: Report,
    ) -> Generated:
        """Make the clip that `plan` describes.

        Args:
            plan: From make_plan.
            source_THWC: Up to `plan.reference.frames` frames of `plan.reference.size`; None where
                the plan has no reference.
            image_HWC: The first frame, of `plan.size`, or None.
            loras: LoRAs to merge, each at its scale.
            report: Told of each step; what it raises ends the generation and comes out here.

        Raises:
            LoraIncompatibleError: A LoRA does not fit this checkpoint.
        """
        opened = [open_lora(file, self.models.transformer) for file in loras]
        latents = self.sample(plan, source_THWC, image_HWC, opened, report)
        report("decode", 0, 1)
        frames_THWC = to_frames(decode_frames(self.models, latents.video_BCFHW))
        audio = decode_audio(self.models, latents.audio_BLD) if plan.audio else None
        report("decode", 1, 1)
        return Generated(
            Clip(frames_THWC, plan.fps, audio),
            loras=tuple(_facts(lora) for lora in opened),
            warnings=tuple(_unmatched(lora) for lora in opened if lora.unmatched),
        )

    @torch.inference_mode()
    def sample(
        self,
        plan: Plan,
        source_THWC: Frames | None,
        image_HWC: Image | None,
        loras: Sequence[Lora],
        report: Report,
    ) -> Latents:
        """The latents of the clip: one pass, or a pass at half size and a refining one."""
        rng = Generator().manual_seed(plan.seed)
        first, *second = plan.passes
        conditions = self._prepare(plan, source_THWC, image_HWC, report)
        with merged(self.models.transformer, loras):
            latents = self._pass(plan, first, conditions, None, rng, report)
        if second:
            latents = self._upsample(latents, report)
            with merged(self.models.transformer, self._refine_loras(loras)):
                latents = self._pass(plan, second[0], conditions, latents, rng, report)
        return latents

    def _prepare(
        self, plan: Plan, source_THWC: Frames | None, image_HWC: Image | None, report: Report
    ) -> Conditions:
        report("text", 0, 1)
        text = encode_prompts(self.models, [plan.negative_prompt, plan.prompt])
        report("text", 1, 1)
        reference_BCFHW = None
        if source_THWC is not None:
            # A codec frame stands for eight frames after the first: a rest is left out.
            whole = (len(source_THWC) - 1) // FRAME_STEP * FRAME_STEP + 1
            reference_BCFHW = encode_frames(self.models, source_THWC[:whole])
        report("condition", 1, 1)
        return Conditions(text, image_HWC, reference_BCFHW)

    def _pass(
        self,
        plan: Plan,
        one: Pass,
        conditions: Conditions,
        start: Latents | None,
        rng: Generator,
        report: Report,
    ) -> Latents:
        """Walk down one schedule, from `start` or from noise."""
        fps, sigma = float(plan.fps), one.sigmas[0]
        tokens = self._tokens(plan, one, conditions, start)
        state = AudioVideo(
            add_noise(tokens, sigma, rng), self._noisy_audio(plan, start, sigma, rng)
        )
        text = _rows(conditions.text, guided=one.guidance_scale > 1)
        state = denoise(
            make_denoiser(self.models, text, one.guidance_scale, fps),
            state,
            one.sigmas,
            partial(_report_step, report, one),
        )
        return Latents(target_latents(state.video), state.audio_BLD)

    def _tokens(
        self, plan: Plan, one: Pass, conditions: Conditions, start: Latents | None
    ) -> Tokens:
        models, fps = self.models, float(plan.fps)
        latents_BCFHW = start.video_BCFHW if start else self._blank(plan.frames, one.size)
        tokens = start_tokens(models, latents_BCFHW, fps)
        if conditions.image_HWC is not None:
            image_BCFHW = encode_first_frame(
                models, conditions.image_HWC, one.size.height, one.size.width
            )
            tokens = keep_first_frame(tokens, image_BCFHW)
        if one.reference and conditions.reference_BCFHW is not None:
            reference_BCFHW = conditions.reference_BCFHW
            tokens = append_reference(models, tokens, reference_BCFHW, plan.strength, fps)
        return tokens

    def _blank(self, frames: int, size: Size) -> Tensor:
        shape = (frames - 1) // FRAME_STEP + 1, size.height // SIDE_STEP, size.width // SIDE_STEP
        channels = self.models.transformer.config.in_channels
        return torch.zeros((1, channels, *shape), device=self.models.device)

    def _noisy_audio(
        self, plan: Plan, start: Latents | None, sigma: float, rng: Generator
    ) -> Tensor:
        if start is not None:
            return torch.lerp(start.audio_BLD, make_noise(start.audio_BLD, rng), sigma)
        shape = audio_shape(self.models, float(plan.frames / plan.fps))
        return make_noise(torch.empty(shape, device=self.models.device), rng)

    def _upsample(self, latents: Latents, report: Report) -> Latents:
        report("upsample", 0, 1)
        upsampled = replace(latents, video_BCFHW=upsample(self.models, latents.video_BCFHW))
        report("upsample", 1, 1)
        return upsampled

    def _refine_loras(self, loras: Sequence[Lora]) -> list[Lora]:
        """The second pass: without IC-LoRAs, which act on the reference, and distilled."""
        checkpoint = self.checkpoint
        kept = [lora for lora in loras if not lora.in_context]
        if checkpoint.refine_lora is None:
            return kept
        path = self.models.folder / checkpoint.refine_lora
        file = LoraFile(path, checkpoint.refine_lora, checkpoint.refine_lora_scale, sha256="")
        return [*kept, open_lora(file, self.models.transformer)]


def _rows(text: TextEmbeddings, *, guided: bool) -> TextEmbeddings:
    return text if guided else TextEmbeddings(text.video_BLD[1:], text.audio_BLD[1:])


def _report_step(report: Report, one: Pass, done: int) -> None:
    report(one.stage, done, len(one.sigmas))


def _facts(lora: Lora) -> LoraFacts:
    file = lora.file
    return LoraFacts(
        path=file.ref,
        scale=file.scale,
        sha256=file.sha256,
        rank=lora.rank,
        layers=len(lora.deltas),
    )


def _unmatched(lora: Lora) -> Adjustment:
    total = len(lora.deltas) + len(lora.unmatched)
    return Adjustment(
        field=f"{lora.file.field}.path",
        asked=f"{total} layers",
        used=f"{len(lora.deltas)} layers",
        why=f"the model has no {', '.join(lora.unmatched[:3])}",
    )

"""From a plan to a clip: text -> condition -> denoise -> (upsample -> refine) -> decode.

`generate` is that line. The pipeline knows no jobs, files or HTTP; it is given frames and gives
frames. It runs one generation at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from rotoscope.generation.codec import (
    decode_audio,
    decode_frames,
    encode_frames,
    to_frames,
    upsample,
)
from rotoscope.generation.condition import Image
from rotoscope.generation.expand import expanded
from rotoscope.generation.loras import Lora, LoraFile, merged, open_lora
from rotoscope.generation.models import Models, open_models
from rotoscope.generation.plan import FRAME_STEP, NO_REFERENCE, Pass, Plan
from rotoscope.generation.text import cut_prompts, encode_prompts
from rotoscope.generation.walk import Conditions, Latents, Report, Walk
from rotoscope.generation.weights import Checkpoint
from rotoscope.media.clip import Clip, Frames, Size
from rotoscope.schema.output import Adjustment, LoraFacts
from rotoscope.settings import Settings


@dataclass(frozen=True, slots=True)
class Generated:
    clip: Clip
    prompt: str
    """The one that was used, expanded or not."""
    loras: tuple[LoraFacts, ...]
    warnings: tuple[Adjustment, ...] = ()


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
        plan, not_expanded = expanded(self.models, plan, report)
        latents = self.sample(plan, source_THWC, image_HWC, opened, report)
        report("decode", 0, 1)
        frames_THWC = to_frames(decode_frames(self.models, latents.video_BCFHW))
        audio = decode_audio(self.models, latents.audio_BLD) if plan.audio else None
        report("decode", 1, 1)
        return Generated(
            Clip(frames_THWC, plan.fps, audio),
            prompt=plan.prompt,
            loras=tuple(_facts(lora) for lora in opened),
            warnings=(*not_expanded, *cut_prompts(self.models, plan), *_warnings(plan, opened)),
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
        models, (first, *second) = self.models, plan.passes
        report("text", 0, 1)
        guided = plan.guidance_scale > 1
        prompts = [plan.negative_prompt, plan.prompt] if guided else [plan.prompt]
        text = encode_prompts(models, prompts)
        report("condition", 0, 1)
        conditions = Conditions(text, image_HWC, _sources(models, source_THWC, plan))
        walk = Walk(models, conditions, plan, Generator().manual_seed(plan.seed), report)
        with merged(models.transformer, _acting(loras, first)):
            latents = walk.down(first, walk.start(first))
        if second:
            report("upsample", 0, 1)
            latents = replace(latents, video_BCFHW=upsample(models, latents.video_BCFHW))
            refining = [*_acting(loras, second[0]), *self._distilling]
            with merged(models.transformer, refining):
                latents = walk.down(second[0], latents)
        return latents

    @cached_property
    def _distilling(self) -> list[Lora]:
        """The checkpoint's own LoRA for the second pass, if it has one; read once."""
        checkpoint = self.checkpoint
        if checkpoint.refine_lora is None:
            return []
        path = self.models.folder / checkpoint.refine_lora
        file = LoraFile(path, checkpoint.refine_lora, checkpoint.refine_lora_scale, sha256="")
        return [open_lora(file, self.models.transformer)]


def _sources(models: Models, source_THWC: Frames | None, plan: Plan) -> dict[Size, Tensor]:
    """The source's latents at each size at which a pass uses them.

    A latent stands for eight frames, so a rest is left out.
    """
    if source_THWC is None:
        return {}
    whole = (len(source_THWC) - 1) // FRAME_STEP * FRAME_STEP + 1
    return {size: encode_frames(models, source_THWC[:whole], size) for size in plan.source_sizes}


def _facts(lora: Lora) -> LoraFacts:
    file = lora.file
    return LoraFacts(
        path=file.ref,
        scale=file.scale,
        sha256=file.sha256,
        rank=lora.rank,
        layers=len(lora.deltas),
    )


def _acting(loras: Sequence[Lora], one: Pass) -> list[Lora]:
    """The LoRAs of a pass: an IC-LoRA needs the reference."""
    return [lora for lora in loras if one.reference or not lora.in_context]


def _warnings(plan: Plan, loras: Sequence[Lora]) -> Iterator[Adjustment]:
    """LoRAs that fit in part, do nothing, or disturb each other."""
    yield from (_unmatched(lora) for lora in loras if lora.unmatched)
    controls = [lora.file for lora in loras if lora.in_context]
    if plan.reference is None:
        for file in controls:
            yield Adjustment(field=file.field, asked=file.ref, used=None, why=NO_REFERENCE)
    elif len(controls) > 1:
        refs, last = [file.ref for file in controls], controls[-1]
        why = "all act on the one source, although each was made to act alone"
        yield Adjustment(field=last.field, asked=last.ref, used=refs, why=why)


def _unmatched(lora: Lora) -> Adjustment:
    total = len(lora.deltas) + len(lora.unmatched)
    return Adjustment(
        field=lora.file.field,
        asked=f"{total} layers",
        used=f"{len(lora.deltas)} layers",
        why=f"the model has no {', '.join(lora.unmatched[:3])}",
    )

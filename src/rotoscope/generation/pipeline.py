"""From a plan to a clip: text -> condition -> denoise -> (upsample -> refine) -> decode.

`generate` is that line. The pipeline knows no jobs, files or HTTP; it is given frames and gives
frames. It runs one generation at a time.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal, Self

import torch
from torch import Generator, Tensor

from rotoscope import telemetry
from rotoscope.errors import OperatorError
from rotoscope.generation.attach import attached
from rotoscope.generation.codec import (
    decode_audio,
    decode_frames,
    encode_frames,
    to_frames,
    upsample,
)
from rotoscope.generation.compiled import compile_blocks
from rotoscope.generation.condition import Image
from rotoscope.generation.expand import expanded
from rotoscope.generation.loras import Lora, LoraFile, merged, open_lora
from rotoscope.generation.memory import (
    TILE,
    Footprint,
    Mode,
    choose,
    fits,
    in_tiles,
    leaner,
    read_footprint,
)
from rotoscope.generation.models import Models, dtype_of, open_models, room_of
from rotoscope.generation.plan import FRAME_STEP, NO_REFERENCE, Pass, Plan
from rotoscope.generation.preview import Watch
from rotoscope.generation.recall import Recall, digest
from rotoscope.generation.speed import Speed
from rotoscope.generation.text import TextEmbeddings, cut_prompts, encode_prompts
from rotoscope.generation.walk import Conditions, Latents, Report, Walk
from rotoscope.generation.weights import CHECKPOINTS, Checkpoint, find_checkpoint
from rotoscope.media.clip import Clip, Frames, Size
from rotoscope.schema.output import Adjustment, LoraFacts
from rotoscope.settings import Settings

log = telemetry.logger()

_IN_TILES = Adjustment(
    field="decode_tiles",
    asked="whole pictures",
    used=f"tiles of {TILE} pixels",
    why="the operator chose tiles, which need less memory; where two meet they are blended",
)


@dataclass(frozen=True, slots=True)
class Generated:
    clip: Clip
    prompt: str
    """The one that was used, expanded or not."""
    loras: tuple[LoraFacts, ...]
    memory: Mode = "resident"
    """The memory plan that it was made under."""
    warnings: tuple[Adjustment, ...] = ()


class Pipeline:
    """One open checkpoint."""

    def __init__(
        self,
        models: Models,
        memory: Literal["auto"] | Mode = "auto",
        speed: Speed | None = None,
    ) -> None:
        """`memory` and `speed` are what the operator asked for."""
        self.models = models
        self.speed = speed or Speed()
        self._memory = memory
        self._recall = Recall(self.speed.recall_bytes, models.device)
        if self.speed.compiled:
            compile_blocks(models.transformer, self.speed.compiled)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the configured checkpoint; OperatorError says what is missing."""
        check_profile(settings)
        return cls(open_models(settings), settings.memory, Speed.of(settings))

    @property
    def checkpoint(self) -> Checkpoint:
        return self.models.checkpoint

    def admit(self, plan: Plan) -> Mode:
        """The memory plan for `plan`, before anything of it is read.

        Raises:
            OutOfMemoryError: It fits into none; the text names shapes that would.
        """
        apart = self.speed.guidance_batch != "together"
        room = room_of(self.models, self.footprint)
        return choose(self._memory, self.footprint, plan, room, apart=apart)

    def apart(self, plan: Plan) -> bool:
        """Whether the guesses of a step of `plan` are computed one after the other."""
        asked, mode = self.speed.guidance_batch, self.models.placement.mode
        if asked != "auto":
            return asked == "apart"
        room = room_of(self.models, self.footprint)
        return plan.most_rows > 1 and not fits(self.footprint, plan, mode, room)

    @torch.inference_mode()
    def generate(  # noqa: PLR0913, PLR0917 - each is something else
        self,
        plan: Plan,
        source_THWC: Frames | None,
        image_HWC: Image | None,
        loras: Sequence[LoraFile],
        report: Report,
        watch: Watch | None = None,
    ) -> Generated:
        """Make the clip that `plan` describes; out of memory, try the next leaner memory plan.

        Args:
            plan: From make_plan.
            source_THWC: Up to `plan.reference.frames` frames of `plan.reference.size`; None where
                the plan has no reference.
            image_HWC: The first frame, of `plan.size`, or None.
            loras: LoRAs to merge, each at its scale.
            report: Told of each step; what it raises ends the generation and comes out here.
            watch: Shown pictures of the clip while it is denoised; they change nothing of it.

        Raises:
            LoraIncompatibleError: A LoRA does not fit this checkpoint.
            OutOfMemoryError: The plan fits into no memory plan.
        """
        opened = [open_lora(file, self.models.transformer) for file in loras]
        return self.make(plan, source_THWC, image_HWC, opened, report, watch)

    @torch.inference_mode()
    def make(  # noqa: PLR0913, PLR0917 - generate's
        self,
        plan: Plan,
        source_THWC: Frames | None,
        image_HWC: Image | None,
        loras: Sequence[Lora],
        report: Report,
        watch: Watch | None = None,
    ) -> Generated:
        """The same with LoRAs that are open already."""
        mode = self.admit(plan)
        attempt = partial(self._attempt, plan, source_THWC, image_HWC, loras, report, watch)
        lean = leaner(mode, self.footprint, room_of(self.models, self.footprint))
        try:
            return attempt(mode)
        except torch.OutOfMemoryError:
            if lean is None:
                raise
            log.warning("out_of_memory", memory=mode, next=lean)
        # The error is gone here, and with it what its frames held.
        gc.collect()
        self.models.placement.release()
        return _told(attempt(lean), mode)

    def _attempt(  # noqa: PLR0913, PLR0917 - generate's, and the memory plan
        self,
        plan: Plan,
        source_THWC: Frames | None,
        image_HWC: Image | None,
        opened: Sequence[Lora],
        report: Report,
        watch: Watch | None,
        mode: Mode,
    ) -> Generated:
        self.models.placement.settle(mode)
        with self.models.placement.using(*(["text_encoder"] if plan.expand else [])):
            plan, not_expanded = expanded(self.models, plan, report)
        latents = self.sample(plan, source_THWC, image_HWC, opened, report, watch)
        report("decode", 0, 1)
        tiled = in_tiles(plan)
        frames_THWC = to_frames(decode_frames(self.models, latents.video_BCFHW, tiled=tiled))
        audio = decode_audio(self.models, latents.audio_BLD) if plan.audio else None
        report("decode", 1, 1)
        return Generated(
            Clip(frames_THWC, plan.fps, audio),
            prompt=plan.prompt,
            loras=tuple(_facts(lora) for lora in opened),
            memory=mode,
            warnings=(
                *not_expanded,
                *cut_prompts(self.models, plan),
                *_warnings(plan, opened),
                *[_IN_TILES] * tiled,
            ),
        )

    @torch.inference_mode()
    def sample(  # noqa: PLR0913, PLR0917 - generate's
        self,
        plan: Plan,
        source_THWC: Frames | None,
        image_HWC: Image | None,
        loras: Sequence[Lora],
        report: Report,
        watch: Watch | None = None,
    ) -> Latents:
        """The latents of the clip: one pass, or a pass at half size and a refining one."""
        models, (first, *second) = self.models, plan.passes
        report("text", 0, 1)
        text = self._text(plan)
        report("condition", 0, 1)
        conditions = Conditions(text, image_HWC, self._sources(source_THWC, plan))
        rng = Generator().manual_seed(plan.seed)
        apart = self.apart(plan)
        walk = Walk(models, conditions, plan, rng, report, self.speed, watch, apart)
        turbo = plan.choices.profile == "turbo" and not self.checkpoint.distilled
        distilling = self.distilling if turbo and plan.way != "three-step" else []
        with self._transformer_with([*_acting(loras, first), *distilling]):
            latents = walk.down(first, walk.start(first))
        if second:
            report("upsample", 0, 1)
            latents = replace(latents, video_BCFHW=upsample(models, latents.video_BCFHW))
            refining = [*_acting(loras, second[0]), *self.distilling]
            with self._transformer_with(refining):
                latents = walk.down(second[0], latents)
        return latents

    def _text(self, plan: Plan) -> TextEmbeddings:
        """The prompt's row last, and before it the negative prompt's where a pass is guided."""
        models, guided = self.models, plan.guidance_scale > 1
        prompts = (plan.negative_prompt, plan.prompt) if guided else (plan.prompt,)

        def encode() -> tuple[Tensor, ...]:
            with models.placement.using("text_encoder", "connectors"):
                text = encode_prompts(models, prompts)
            return text.video_BLD, text.audio_BLD

        # A text encoder in 8 bits makes other embeddings.
        key = (models.placement.mode == "fp8", prompts)
        return TextEmbeddings(*self._recall.get(key, encode))

    def _sources(self, source_THWC: Frames | None, plan: Plan) -> dict[Size, Tensor]:
        """The source's latents at each size at which a pass uses them.

        A latent stands for eight frames, so a rest is left out.
        """
        if source_THWC is None:
            return {}
        whole_THWC = source_THWC[: (len(source_THWC) - 1) // FRAME_STEP * FRAME_STEP + 1]
        name = digest(whole_THWC) if self._recall.most_bytes else ""

        def latents(size: Size) -> Tensor:
            made = self._recall.get(
                (name, size), lambda: (encode_frames(self.models, whole_THWC, size),)
            )
            return made[0]

        return {size: latents(size) for size in plan.source_sizes}

    @contextmanager
    def _transformer_with(self, loras: Sequence[Lora]) -> Iterator[None]:
        """The transformer on the device, with `loras`; in 8 bits, merging would round them off."""
        models = self.models
        fp8 = models.placement.mode == "fp8"
        apply = attached if fp8 else merged
        with ExitStack() as stack:
            stack.enter_context(models.placement.using("transformer"))
            stack.enter_context(apply(models.transformer, loras))
            if fp8 and self.speed.compiled:
                # Its layers unfold their weights in hooks.
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    @cached_property
    def footprint(self) -> Footprint:
        """What the checkpoint takes; read once."""
        models = self.models
        number = dtype_of(models.checkpoint, models.device).itemsize
        return read_footprint(
            models.folder, text_tokens=models.checkpoint.text_tokens, number=number
        )

    @cached_property
    def distilling(self) -> list[Lora]:
        """The checkpoint's own LoRA for the second pass, if it has one; read once."""
        checkpoint = self.checkpoint
        if checkpoint.refine_lora is None:
            return []
        path = self.models.folder / checkpoint.refine_lora
        file = LoraFile(path, checkpoint.refine_lora, checkpoint.refine_lora_scale, sha256="")
        return [open_lora(file, self.models.transformer)]


def check_profile(settings: Settings) -> None:
    """Raises OperatorError where the checkpoint cannot run under the profile."""
    row = find_checkpoint(settings.checkpoint)
    if settings.profile == "turbo" and not (row.distilled or row.refine_lora):
        able = [one.name for one in CHECKPOINTS.values() if one.distilled or one.refine_lora]
        raise OperatorError(
            f"ROTOSCOPE_PROFILE is turbo, but {row.name} is not distilled and has no LoRA that "
            f"makes it so; set it to exact or fast, or take {' or '.join(able)}."
        )


def _told(made: Generated, asked: Mode) -> Generated:
    """With a warning that it took a leaner memory plan than `asked`."""
    why = "the worker ran out of memory, and tried again with more of the weights out of the way"
    told = Adjustment(field="memory", asked=asked, used=made.memory, why=why)
    return replace(made, warnings=(*made.warnings, told))


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

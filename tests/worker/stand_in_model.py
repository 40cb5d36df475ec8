"""A model that only resizes: small, real frames in and out, with the pipeline's own stages.

What it does beside that is asked for by the prompt:

    raise      an unforeseen error        memory     out of memory
    vast       does not fit               gate       waits at a step until the gate file is there
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt

from rotoscope.errors import OutOfMemoryError
from rotoscope.generation.loras import LoraFile
from rotoscope.generation.pipeline import Generated
from rotoscope.generation.plan import Plan
from rotoscope.generation.preview import Watch
from rotoscope.generation.weights import CHECKPOINTS, Checkpoint
from rotoscope.media.clip import Clip, Frames
from rotoscope.schema.output import LoraFacts
from rotoscope.worker.run import OnStep

STEPS = 4


class StandIn:
    def __init__(self, gate: Path | None = None) -> None:
        self._gate = gate
        self.images: list[npt.NDArray[np.uint8] | None] = []
        self.sources: list[Frames | None] = []

    @property
    def checkpoint(self) -> Checkpoint:
        return CHECKPOINTS["mini"]

    def admit(self, plan: Plan, /) -> None:
        """Anything fits, but what says that it does not."""
        if plan.prompt == "vast":
            raise OutOfMemoryError("64x64 with 9 frames needs 1.0 GB of memory.")

    def generate(
        self,
        plan: Plan,
        source_THWC: Frames | None,
        image_HWC: npt.NDArray[np.uint8] | None,
        loras: Sequence[LoraFile],
        report: OnStep,
        watch: Watch | None,
        /,
    ) -> Generated:
        self.images.append(image_HWC)
        self.sources.append(source_THWC)
        for stage in (stage for stage in plan.costs if stage != "preprocess"):
            for done in range(STEPS):
                report(stage, done, STEPS)
                if watch and stage == "denoise":
                    watch.show(np.full((36, 64, 3), 40 * done, np.uint8))
                self._misbehave(plan.prompt, report)
        facts = [
            LoraFacts(path=lora.ref, scale=lora.scale, sha256=lora.sha256, rank=1, layers=1)
            for lora in loras
        ]
        return Generated(
            Clip(_frames(plan, source_THWC), plan.fps), prompt=plan.prompt, loras=tuple(facts)
        )

    def _misbehave(self, prompt: str, report: OnStep) -> None:
        if prompt == "raise":
            raise RuntimeError("a secret of the worker")
        if prompt == "memory":
            raise MemoryError
        while prompt == "gate" and self._gate and not self._gate.exists():
            report("denoise", 1, STEPS)
            Event().wait(0.01)


def _frames(plan: Plan, source_THWC: Frames | None) -> Frames:
    """The source's frames, each pixel and the last frame repeated as often as needed."""
    if source_THWC is None:
        return np.zeros((plan.frames, plan.size.height, plan.size.width, 3), np.uint8)
    frames, height, width, _ = source_THWC.shape
    pick_T = np.minimum(np.arange(plan.frames), frames - 1)
    rows, columns = plan.size.height // height, plan.size.width // width
    return source_THWC[pick_T].repeat(rows, axis=1).repeat(columns, axis=2)

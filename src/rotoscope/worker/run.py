"""One claimed job to one stored video: a line per step, in the order they happen.

Errors leave this file as they are; loop.py turns them into the job's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rotoscope.generation.in_context import in_context_of
from rotoscope.generation.loras import LoraFile
from rotoscope.generation.pipeline import Generated
from rotoscope.generation.plan import Choices, Plan, make_plan
from rotoscope.generation.preview import Watch
from rotoscope.generation.walk import Report as OnStep
from rotoscope.generation.weights import Checkpoint
from rotoscope.media.clip import Clip, Frames, VideoInfo
from rotoscope.media.decode import decode, probe
from rotoscope.media.encode import Encoded, encode
from rotoscope.media.image import load_image
from rotoscope.preprocess.control import Control, make_control
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import ControlFile, Outcome
from rotoscope.schema.worker import Assignment
from rotoscope.settings import Settings
from rotoscope.worker.api import WorkerApi
from rotoscope.worker.inputs import Fetcher, InputFile, Inputs, fetch_inputs
from rotoscope.worker.manifest import manifest_of
from rotoscope.worker.progress import Report
from rotoscope.worker.turns import Turns


class Model(Protocol):
    """What a run needs of generation/pipeline.py."""

    @property
    def checkpoint(self) -> Checkpoint: ...

    def admit(self, plan: Plan, /) -> object:
        """Raises OutOfMemoryError where `plan` cannot fit; `generate` does so too."""

    def generate(  # noqa: PLR0913, PLR0917 - each is something else
        self,
        plan: Plan,
        source: Frames | None,
        image: npt.NDArray[np.uint8] | None,
        loras: Sequence[LoraFile],
        report: OnStep,
        watch: Watch | None,
        /,
    ) -> Generated: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """What stays the same from job to job."""

    model: Model
    api: WorkerApi
    settings: Settings
    turns: Turns = field(default_factory=Turns)


def run(job: Assignment, bench: Bench, folder: Path, report: Report) -> Outcome:
    """Make the clip that `job` asks for and store it; what stays behind is in `folder`."""
    report.begin("fetch")
    inputs = fetch_inputs(job.input, _fetcher(bench, folder))
    report.begin("read")
    info = probe(inputs.video.path)
    plan = decide(job.input, info, inputs, bench)
    bench.turns.unless_busy(partial(bench.model.admit, plan))
    report.follow(plan.costs, plan.warnings)
    source = read_source(inputs.video, plan)
    control = draw_control(source, plan, bench, report)
    image = read_image(inputs.image, plan)
    shown = control.frames_THWC if control else source
    with bench.turns.model(report):
        made = bench.model.generate(
            plan, shown, image, inputs.loras, report.step, watch(report, bench.settings)
        )
    report.warn(made.warnings)
    report.begin("encode")
    encoded = encode_as_asked(made.clip, job.input, folder)
    drawn = control and encode_control(control, plan, folder)
    report.begin("store")
    stored = bench.api.store(job, encoded.path, encoded.path.name)
    return Outcome(
        file=stored.key,
        media=encoded.media,
        control=drawn and store_control(job, drawn, bench),
        metrics=report.seconds(),
        manifest=manifest_of(job, bench.model.checkpoint, plan, inputs, made, control),
    )


def _fetcher(bench: Bench, folder: Path) -> Fetcher:
    return Fetcher(bench.settings, bench.api, folder, bench.model.checkpoint)


def decide(asked: VideoToVideoInput, info: VideoInfo, inputs: Inputs, bench: Bench) -> Plan:
    """The plan, of which the IC-LoRAs' files have a say."""
    return make_plan(
        asked,
        info,
        bench.model.checkpoint,
        max_area=bench.settings.max_area,
        choices=Choices.of(bench.settings),
        in_context=in_context_of(inputs.loras, bench.model.checkpoint),
    )


def read_source(video: InputFile, plan: Plan) -> Frames | None:
    """The frames that hold the result; None where nothing of the source is used."""
    if plan.reference is None:
        return None
    wanted = plan.reference
    return decode(video.path, frames=wanted.frames, fps=plan.fps, size=wanted.size)


def draw_control(source: Frames | None, plan: Plan, bench: Bench, report: Report) -> Control | None:
    """What the preprocessor makes of the source, drawn over it; None without a preprocessor."""
    if source is None or plan.preprocessor == "none":
        return None
    control = make_control(source, plan.preprocessor, bench.settings, report.step)
    report.warn(control.warnings)
    return control


def watch(report: Report, settings: Settings) -> Watch | None:
    """Pictures of the clip for whoever asks how the job is; None where the operator wants none."""
    return Watch(settings.preview_every, report.show) if settings.preview_every else None


def encode_as_asked(clip: Clip, asked: VideoToVideoInput, folder: Path) -> Encoded:
    return encode(
        clip, quality=asked.video_quality, into=folder, output_type=asked.video_output_type
    )


def encode_control(control: Control, plan: Plan, folder: Path) -> Encoded:
    clip = Clip(control.frames_THWC, plan.fps)
    return encode(clip, quality="high", into=folder, name="control.mp4")


def store_control(job: Assignment, control: Encoded, bench: Bench) -> ControlFile:
    stored = bench.api.store(job, control.path, control.path.name)
    return ControlFile(file=stored.key, media=control.media)


def read_image(image: InputFile | None, plan: Plan) -> npt.NDArray[np.uint8] | None:
    return None if image is None else load_image(image.path, size=plan.size)

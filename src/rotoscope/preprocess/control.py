"""The frames of a source to the frames of a control video, a few at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rotoscope.generation.models import pick_device
from rotoscope.media.clip import Frames, Size
from rotoscope.preprocess.canny import HIGH, LOW, edges
from rotoscope.preprocess.depth import DepthModel, FastDepth, look
from rotoscope.preprocess.depth_anything import DepthAnything
from rotoscope.preprocess.pose import PeopleFinder
from rotoscope.preprocess.weights import Weights, choose, facts_of
from rotoscope.schema.input import Preprocessor
from rotoscope.schema.output import Adjustment, PreprocessorFacts
from rotoscope.settings import Settings

STAGE = "preprocess"
AT_ONCE = 8
"""Frames between two reports, each of which may end the job."""
CANNY = PreprocessorFacts(name="canny", model=f"canny-{LOW}-{HIGH}")

Report = Callable[[str, int, int], None]
"""Told the stage, how many of its steps are done, and how many it has."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control video, what made it, and what has to be said about that."""

    frames_THWC: Frames
    facts: PreprocessorFacts
    warnings: tuple[Adjustment, ...] = ()


def make_control(
    source_THWC: Frames, preprocessor: Preprocessor, settings: Settings, report: Report
) -> Control:
    """The control video of a source, drawn over it: a long clip is in memory only once.

    Args:
        source_THWC: The frames (uint8), which are gone afterwards.
        preprocessor: canny, depth or pose.
        settings: Where models are, and the device for them.
        report: Told how far it is; it may raise to end the job.

    Raises:
        PreprocessorUnavailableError: The model that it needs is not here.
    """
    if preprocessor == "canny":
        _draw(source_THWC, edges, report)
        return Control(source_THWC, CANNY)
    if preprocessor == "none":
        raise ValueError("there is no control video without a preprocessor")
    weights = choose(preprocessor, settings)
    if preprocessor == "pose":
        _draw(source_THWC, PeopleFinder(weights.path(settings)).skeletons, report)
    else:
        _draw_depth(source_THWC, _depth_model(weights, settings), report)
    return Control(source_THWC, facts_of(weights, settings), _limits(weights))


def _draw(frames_THWC: Frames, picture_of: Callable[[Frames], Frames], report: Report) -> None:
    for chunk in _chunks(frames_THWC, report):
        chunk[:] = picture_of(chunk)


def _draw_depth(frames_THWC: Frames, model: DepthModel, report: Report) -> None:
    """Look at all frames before the first is drawn: the scale is that of the whole clip."""
    count, height, width, _ = frames_THWC.shape
    shades = look(model, _chunks(frames_THWC, report))
    for start in range(0, count, AT_ONCE):
        drawn = shades.draw(start, AT_ONCE, Size(width, height))
        frames_THWC[start : start + AT_ONCE] = drawn
        report(STAGE, count, count)


def _chunks(frames_THWC: Frames, report: Report) -> Iterator[Frames]:
    """Views of a few frames each; what was done with one is reported before the next."""
    count = len(frames_THWC)
    for start in range(0, count, AT_ONCE):
        report(STAGE, start, count)
        yield frames_THWC[start : start + AT_ONCE]
    report(STAGE, count, count)


def _depth_model(weights: Weights, settings: Settings) -> DepthModel:
    path = weights.path(settings)
    if weights.name == "fastdepth":
        return FastDepth(path)
    return DepthAnything(path.parent, pick_device(settings).type)


def _limits(weights: Weights) -> tuple[Adjustment, ...]:
    if weights.limit is None:
        return ()
    used = f"{weights.kind} by {weights.name}"
    return (Adjustment(field="preprocessor", asked=weights.kind, used=used, why=weights.limit),)

"""The three preprocessors as a job uses them."""

from pathlib import Path

import numpy as np
import pytest

from rotoscope.errors import LeaseLostError, PreprocessorUnavailableError
from rotoscope.preprocess import weights
from rotoscope.preprocess.control import AT_ONCE, STAGE, make_control
from rotoscope.schema.input import Preprocessor
from rotoscope.settings import Settings
from tests.effects import scenes

KINDS: tuple[Preprocessor, ...] = ("canny", "depth", "pose")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, device="cpu")


def unheard(stage: str, done: int, steps: int) -> None:
    """For tests that do not look at the progress."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_video_has_the_shape_of_its_source(
    kind: Preprocessor, settings: Settings
) -> None:
    """And takes its place in memory; another run gives the same bits."""
    source_THWC = scenes.discs(AT_ONCE + 1)
    again = make_control(source_THWC.copy(), kind, settings, unheard)
    control = make_control(source_THWC, kind, settings, unheard)

    assert control.frames_THWC is source_THWC
    assert (control.frames_THWC == again.frames_THWC).all()
    assert control.facts.name == kind


@pytest.mark.parametrize("kind", KINDS)
def test_one_frame_is_enough(kind: Preprocessor, settings: Settings) -> None:
    """The shortest clip there is."""
    control = make_control(scenes.discs(1), kind, settings, unheard)
    assert control.frames_THWC.shape == (1, scenes.HEIGHT, scenes.WIDTH, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_progress_counts_frames(kind: Preprocessor, settings: Settings) -> None:
    """From none to all, never backwards, under one name."""
    told: list[tuple[str, int, int]] = []
    frames = 2 * AT_ONCE + 1
    make_control(scenes.discs(frames), kind, settings, lambda *now: told.append(now))

    done = [step for _, step, _ in told]
    assert {(stage, steps) for stage, _, steps in told} == {(STAGE, frames)}
    assert done == sorted(done)
    assert {0, AT_ONCE, 2 * AT_ONCE, frames} == set(done)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [AT_ONCE, 2 * AT_ONCE])
def test_it_ends_where_the_report_says_so(kind: Preprocessor, at: int, settings: Settings) -> None:
    """A lost lease or a worker that is told to end stops it between a few frames and the next."""
    told: list[int] = []

    def stop(stage: str, done: int, steps: int) -> None:
        told.append(done)
        if done == at:
            raise LeaseLostError("gone")

    with pytest.raises(LeaseLostError):
        make_control(scenes.discs(3 * AT_ONCE), kind, settings, stop)
    assert told[-1] == at


def test_what_ran_is_told(settings: Settings) -> None:
    """The method with its thresholds, or the model with the hash of its weights."""
    facts = {kind: make_control(scenes.discs(1), kind, settings, unheard).facts for kind in KINDS}
    assert (facts["canny"].model, facts["canny"].sha256) == ("canny-100-200", None)
    for kind, name in (("depth", "fastdepth"), ("pose", "movenet-multipose")):
        assert facts[kind].model == name
        assert facts[kind].sha256 == weights.WEIGHTS[name].sha256


def test_a_coarse_model_is_a_warning(settings: Settings) -> None:
    """Whoever asks for depth is told what made it, and how the operator gets a better one."""
    (warning,) = make_control(scenes.discs(1), "depth", settings, unheard).warnings
    assert (warning.field, warning.asked, warning.used) == (
        "preprocessor", "depth", "depth by fastdepth",
    )  # fmt: skip
    assert "rotoscope models fetch depth-anything-v2-small" in warning.why
    for kind in ("canny", "pose"):
        assert make_control(scenes.discs(1), kind, settings, unheard).warnings == ()


@pytest.mark.parametrize("kind", ["depth", "pose"])
@pytest.mark.parametrize("content", [None, b"not a model"])
def test_a_missing_or_damaged_model_ends_the_job(
    kind: Preprocessor,
    content: bytes | None,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the field and the command that restores it; nothing else is tried."""
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    if content is not None:
        for row in weights.WEIGHTS.values():
            (tmp_path / row.file).write_bytes(content)
    with pytest.raises(
        PreprocessorUnavailableError, match="pip install --force-reinstall"
    ) as found:
        make_control(scenes.discs(1), kind, settings, unheard)
    assert (found.value.field, found.value.code) == ("preprocessor", "preprocessor_unavailable")


def test_canny_needs_no_model(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works in an installation without any."""
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    assert make_control(scenes.discs(1), "canny", settings, unheard).frames_THWC.any()


def test_a_picture_of_nobody_is_black(settings: Settings) -> None:
    """Pose control of a scene without people."""
    source_THWC = np.stack([scenes.landscape()])
    assert make_control(source_THWC, "pose", settings, unheard).frames_THWC.max() == 0

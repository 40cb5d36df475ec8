"""How much a job needs under each memory plan, and which plan it gets."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rotoscope.errors import OutOfMemoryError
from rotoscope.generation.memory import (
    MODES,
    USABLE,
    Footprint,
    Mode,
    Room,
    choose,
    fits,
    leaner,
    needed,
    possible,
    read_footprint,
    reshaped,
    working,
)
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.weights import GB, PARTS
from rotoscope.media.facts import Size
from tests.generation.test_plan import plan_of

GIB = 2**30
# Numbers in each part of LTX-2 19B, in bfloat16.
LTX_2 = Footprint(
    weights={
        "transformer": 37_752_000_000,
        "text_encoder": 24_380_000_000,
        "connectors": 2_862_000_000,
        "vae": 2_444_000_000,
        "latent_upsampler": 996_000_000,
        "audio_vae": 106_000_000,
        "vocoder": 112_000_000,
    },
    number=2,
    channels=4096,
    text_numbers=1024 * 3840 * 49,
)
LONG = {"match_video_length": False, "num_frames": 481}
ONE_PASS = {"use_multiscale": False, "video_size": {"width": 1920, "height": 1088}}


def room(card_gib: int, host_gib: int = 128) -> Room:
    return Room(card_gib * GIB, host_gib * GIB)


@pytest.mark.parametrize(
    ("card_gib", "fields", "mode"),
    [
        (139, {}, "resident"),
        (139, LONG, "resident"),
        (139, ONE_PASS, "resident"),
        (139, ONE_PASS | LONG | {"num_frames": 281}, "offloaded"),
        (80, {}, "resident"),
        (80, LONG, "offloaded"),
        (48, {}, "offloaded"),
        (40, {}, "fp8"),
        (48, LONG, "fp8"),
        (32, {}, "fp8"),
        (24, {"video_size": {"width": 512, "height": 512}}, "fp8"),
    ],
)
def test_a_card_gets_the_first_plan_that_fits(
    card_gib: int, fields: dict[str, object], mode: Mode
) -> None:
    """LTX-2 19B on cards of common sizes, and 121 frames of 1280 x 704 unless said otherwise."""
    assert choose("auto", LTX_2, plan_of(**fields), room(card_gib)) == mode


def test_the_weights_alone_are_what_is_published() -> None:
    """69 GB; a little more than half of it is the transformer, which 8 bits halve."""
    plan = plan_of()
    work = working(LTX_2, plan)

    assert LTX_2.total / GB == pytest.approx(68.7, abs=0.1)
    assert needed(LTX_2, plan, "resident") == LTX_2.total + max(work.values())
    saved = needed(LTX_2, plan, "offloaded") - needed(LTX_2, plan, "fp8")
    assert saved == LTX_2.weights["transformer"] // 2


def test_with_a_first_frame_the_codec_is_in_the_passes() -> None:
    """Its weights stand beside the transformer's there."""
    plan = plan_of(image_url="https://a.test/i.png")

    more = needed(LTX_2, plan, "offloaded") - needed(LTX_2, plan_of(), "offloaded")

    assert more == LTX_2.weights["vae"]


def test_offloading_needs_room_in_the_machine() -> None:
    """Else the weights have nowhere to wait."""
    with pytest.raises(OutOfMemoryError):
        choose("auto", LTX_2, plan_of(), room(48, host_gib=64))


def test_what_does_not_fit_is_refused_with_shapes_that_would() -> None:
    """The shapes named do fit, and the next larger ones do not."""
    small, plan = room(22), plan_of()

    with pytest.raises(
        OutOfMemoryError, match=r"1280x704 with 121 frames needs 24\.1 GB"
    ) as caught:
        choose("auto", LTX_2, plan, small)

    assert caught.value.field == "video_size"
    assert "1024x576 with 121 frames, or 1280x704 with 73 frames, would fit" in str(caught.value)
    assert fits(LTX_2, reshaped(plan, Size(1024, 576), 121), "fp8", small)
    assert not fits(LTX_2, reshaped(plan, Size(1088, 576), 121), "fp8", small)
    assert fits(LTX_2, reshaped(plan, Size(1280, 704), 73), "fp8", small)
    assert not fits(LTX_2, reshaped(plan, Size(1280, 704), 81), "fp8", small)


@pytest.mark.parametrize("mode", MODES)
def test_what_the_operator_names_is_taken(mode: Mode) -> None:
    """Whatever the estimate says of it; where it runs out, the leaner ones are left."""
    assert choose(mode, LTX_2, plan_of(), room(1)) == mode
    assert possible(mode, room(1)) == MODES[MODES.index(mode) :]


def test_the_next_leaner_plan() -> None:
    """One step at a time; none on a CPU, and none where the weights cannot wait."""
    assert leaner("resident", LTX_2, room(80)) == "offloaded"
    assert leaner("offloaded", LTX_2, room(80)) == "fp8"
    assert leaner("fp8", LTX_2, room(80)) is None
    assert leaner("resident", LTX_2, room(80, host_gib=64)) is None
    assert leaner("resident", LTX_2, Room(80 * GB, None)) is None


def test_on_a_cpu_nothing_is_offloaded() -> None:
    """The weights would wait where they are."""
    cpu = Room(200 * GB, None)

    assert possible("auto", cpu) == ("resident",)
    assert choose("auto", LTX_2, plan_of(), cpu) == "resident"
    with pytest.raises(OutOfMemoryError):
        choose("auto", LTX_2, plan_of(), Room(60 * GB, None))
    assert possible("fp8", cpu) == ("fp8",)


@settings(deadline=None)
@given(
    card=st.integers(1, 200),
    host=st.integers(1, 200),
    width=st.integers(2, 30),
    height=st.integers(2, 30),
    frames=st.integers(1, 60),
    multiscale=st.booleans(),
)
def test_what_is_said_to_fit_fits(
    card: int, host: int, width: int, height: int, frames: int, multiscale: bool
) -> None:
    """Any choice fits by its own estimate, no faster one does, and less never needs more."""
    plan = plan_of(
        video_size={"width": width * 64, "height": height * 64},
        match_video_length=False,
        num_frames=frames * 8 + 1,
        use_multiscale=multiscale,
    )
    there = room(card, host)
    try:
        mode = choose("auto", LTX_2, plan, there)
    except OutOfMemoryError:
        assert not any(fits(LTX_2, plan, mode, there) for mode in MODES)
    else:
        assert needed(LTX_2, plan, mode) <= USABLE * there.device
        assert not any(fits(LTX_2, plan, one, there) for one in MODES[: MODES.index(mode)])
    least = reshaped(plan, Size(64, 64), 9)
    for mode in MODES:
        assert needed(LTX_2, least, mode) <= needed(LTX_2, plan, mode)


def test_a_reshaped_plan_is_that_of_the_shape() -> None:
    """Passes, reference and cost as if it had been asked for."""
    asked = plan_of(video_size={"width": 640, "height": 384}, **LONG | {"num_frames": 97})

    made = reshaped(plan_of(), Size(640, 384), 97)

    assert [(one.size, asked.tokens(one)) for one in asked.passes] == [
        (one.size, made.tokens(one)) for one in made.passes
    ]
    assert made.costs == asked.costs


def test_a_footprint_is_counted_from_headers(tmp_path: Path) -> None:
    """Numbers times the bytes of the type that runs, whatever type the file has; all shards."""
    for part in PARTS:
        (tmp_path / part).mkdir()
    save_file({"a": torch.zeros(3, 5, dtype=torch.float16)}, tmp_path / "vae" / "1.safetensors")
    save_file({"b": torch.zeros(7)}, tmp_path / "vae" / "2.safetensors")
    config = {"num_attention_heads": 2, "attention_head_dim": 8}
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(config))
    text = {"text_config": {"hidden_size": 6, "num_hidden_layers": 4}}
    (tmp_path / "text_encoder" / "config.json").write_text(json.dumps(text))

    footprint = read_footprint(tmp_path, text_tokens=10, number=4)

    assert footprint.weights["vae"] == 4 * (15 + 7)
    assert footprint.total == 4 * 22
    assert (footprint.channels, footprint.text_numbers) == (16, 10 * 6 * 5)


def test_the_small_checkpoints_footprint_is_its_models(pipeline: Pipeline) -> None:
    """As many bytes as the parameters and statistics that were loaded."""
    loaded = pipeline.models.transformer
    parameters = sum(tensor.nbytes for tensor in loaded.parameters())

    assert pipeline.footprint.weights["transformer"] == pytest.approx(parameters, rel=0.01)
    assert pipeline.footprint.channels == loaded.config.cross_attention_dim


def test_a_plan_for_this_machine(pipeline: Pipeline) -> None:
    """A small one is let in; one larger than any machine is refused by name of shape."""
    plan = plan_of(video_size={"width": 128, "height": 64})

    assert pipeline.admit(plan) == "resident"
    with pytest.raises(OutOfMemoryError, match="200000x200000 with 9 frames"):
        pipeline.admit(reshaped(plan, Size(200_000, 200_000), 9))

"""What a run decides: of the settings, and of the LoRAs' files."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rotoscope.errors import LoraIncompatibleError
from rotoscope.generation.loras import LoraFile
from rotoscope.media.facts import Size, VideoInfo
from rotoscope.settings import Settings
from rotoscope.worker.api import WorkerApi
from rotoscope.worker.inputs import InputFile, Inputs
from rotoscope.worker.run import Bench, decide
from tests.generation.test_plan import request_of
from tests.worker.stand_in_model import StandIn

HD = VideoInfo(size=Size(1280, 720), fps=Fraction(25), duration_s=4.88, codec="h264")


@pytest.fixture
def lora(tmp_path: Path) -> LoraFile:
    """An IC-LoRA that wants its reference at half size."""
    path = tmp_path / "half.safetensors"
    save_file({"a.lora_A.weight": torch.ones(1)}, path, {"reference_downscale_factor": "2"})
    return LoraFile(path, "half", 1.0, sha256="", field="loras.0.path")


def inputs_with(*loras: LoraFile) -> Inputs:
    return Inputs(InputFile(Path("video"), ""), None, loras)


def bench_of(settings: Settings) -> Bench:
    return Bench(StandIn(), WorkerApi("http://127.0.0.1:1", "", worker_id="w"), settings)


def test_the_plan_follows_the_files(lora: LoraFile) -> None:
    """A reference at half of the first pass, and sides that allow for it."""
    plan = decide(request_of(), HD, inputs_with(lora), bench_of(Settings()))
    usual = decide(request_of(), HD, inputs_with(), bench_of(Settings()))

    assert (plan.downscale, usual.downscale) == (2, 1)
    assert plan.reference
    assert plan.reference.size.width * 2 == plan.passes[-1].size.width
    assert plan.size.width % 128 == plan.size.height % 128 == 0


def test_files_that_disagree_fail_the_job_with_both_names(lora: LoraFile, tmp_path: Path) -> None:
    """Before the source is read."""
    path = tmp_path / "whole.safetensors"
    save_file({"a.lora_A.weight": torch.ones(1)}, path, {"reference_downscale_factor": "1"})
    other = LoraFile(path, "whole", 1.0, sha256="", field="loras.1.path")

    with pytest.raises(LoraIncompatibleError, match=r"whole .* half") as caught:
        decide(request_of(), HD, inputs_with(lora, other), bench_of(Settings()))

    assert (caught.value.code, caught.value.field) == ("lora_incompatible", "loras.1.path")


@pytest.mark.parametrize(
    ("chosen", "way"),
    [({}, "reference"), ({"plain_video": "sdedit"}, "sdedit"), ({"stg_scale": 2}, "reference")],
)
def test_the_settings_decide(chosen: dict[str, object], way: str) -> None:
    """Each of the operator's choices gets into the plan, and from there into the manifest."""
    settings = Settings.model_validate(chosen)

    plan = decide(request_of(), HD, inputs_with(), bench_of(settings))

    assert plan.way == way
    assert plan.passes[0].stg_scale == plan.choices.stg_scale == settings.stg_scale
    assert plan.choices.plain_video == settings.plain_video

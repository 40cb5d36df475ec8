"""The small checkpoint, made once; requests, plans and LoRA files made to measure."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rotoscope.generation.loras import LoraFile
from rotoscope.generation.pipeline import Generated, Pipeline
from rotoscope.generation.plan import Choices, InContext, Plan, make_plan
from rotoscope.generation.weights import REFINE_SIGMAS, Checkpoint
from rotoscope.media.clip import Frames, Size, VideoInfo
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.settings import Settings

# The models here are so small that threads cost more than they give.
torch.set_num_threads(1)

MakePlan = Callable[..., Plan]
MakeLora = Callable[..., LoraFile]


@pytest.fixture(scope="session")
def pipeline(mini_home: Path) -> Pipeline:
    return Pipeline.open(Settings(data_dir=mini_home, device="cpu"))


@pytest.fixture
def plan_of(pipeline: Pipeline) -> MakePlan:
    """A plan for a request of these fields: small and short unless they say otherwise."""

    def make(
        *,
        source: VideoInfo | None = None,
        checkpoint: Checkpoint | None = None,
        choices: Choices | None = None,
        in_context: InContext | None = None,
        **fields: object,
    ) -> Plan:
        asked = {
            "prompt": "a cat in a garden, rain, a steady tone",
            "negative_prompt": "blurry",
            "video_url": "https://a.test/v.mp4",
            "loras": [],
            "video_size": {"width": 128, "height": 64},
            "num_inference_steps": 8,
        }
        info = source or VideoInfo(
            size=Size(128, 64), fps=Fraction(25), duration_s=0.38, codec="h264"
        )
        request = VideoToVideoInput.model_validate_json(json.dumps(asked | fields))
        return make_plan(
            request,
            info,
            checkpoint or pipeline.checkpoint,
            max_area=None,
            choices=choices,
            in_context=in_context,
        )

    return make


@pytest.fixture
def lora_of(pipeline: Pipeline, tmp_path: Path) -> MakeLora:
    """A LoRA file on a few layers of the model, in a dialect given by two functions."""

    def make(
        *,
        scale: float = 1.0,
        layer: Callable[[str], str] = "diffusion_model.{}".format,
        names: tuple[str, str] = ("lora_A.weight", "lora_B.weight"),
        alpha: float | None = None,
        metadata: dict[str, str] | None = None,
        size: float = 0.003,
        seed: int = 7,
    ) -> LoraFile:
        rng, rank = torch.Generator().manual_seed(seed), 4
        tensors = {}
        for name, linear in pipeline.models.transformer.named_modules():
            if not isinstance(linear, torch.nn.Linear) or ".attn" not in name:
                continue
            down = torch.randn((rank, linear.in_features), generator=rng)
            up = torch.randn((linear.out_features, rank), generator=rng) * size
            tensors[f"{layer(name)}.{names[0]}"] = down
            tensors[f"{layer(name)}.{names[1]}"] = up if alpha is None else up * rank / alpha
            if alpha is not None:
                tensors[f"{layer(name)}.alpha"] = torch.tensor(alpha)
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        save_file(tensors, path, metadata)
        return LoraFile(path, path.name, scale, sha256="0" * 64, field="loras.0.path")

    return make


@pytest.fixture
def as_published(pipeline: Pipeline, lora_of: MakeLora) -> Pipeline:
    """The same models, refined as LTX-2 19B is: by a LoRA, without guidance or reference."""
    checkpoint = replace(
        pipeline.checkpoint,
        refine_lora=str(lora_of(seed=8).path),
        refine_sigmas=REFINE_SIGMAS,
        refine_sees_reference=False,
        refine_guidance=1.0,
    )
    return Pipeline(replace(pipeline.models, checkpoint=checkpoint))


def make_source(plan: Plan, seed: int = 3) -> Frames | None:
    """Random smooth-ish frames of the size the plan asks for."""
    if plan.reference is None:
        return None
    size, rng = plan.reference.size, np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (plan.reference.frames, size.height // 8, size.width // 8, 3))
    frames: Frames = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    return frames


def make_image(plan: Plan, seed: int = 5) -> Frames:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (plan.size.height // 16, plan.size.width // 16, 3))
    image: Frames = coarse.repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
    return image


def assert_alike(one: Generated, other: Generated) -> None:
    """But for roundings: a matrix of one row may be multiplied in another order than one of two."""
    difference = one.clip.frames_THWC.astype(int) - other.clip.frames_THWC
    assert np.abs(difference).max() <= 1
    assert np.mean(difference != 0) < 0.01
    assert one.clip.audio
    assert other.clip.audio
    assert np.allclose(one.clip.audio.samples_CS, other.clip.audio.samples_CS, atol=1e-3)


def make(pipeline: Pipeline, plan: Plan, loras: Sequence[LoraFile] = ()) -> Generated:
    """The plan's clip of a drawn source."""
    return pipeline.generate(plan, make_source(plan), None, loras, lambda *_: None)

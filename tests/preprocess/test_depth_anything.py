"""Depth Anything's own classes, small and with random weights: all but the picture itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from rotoscope.preprocess import depth_anything
from rotoscope.preprocess.control import make_control
from rotoscope.preprocess.depth_anything import DepthAnything
from rotoscope.preprocess.weights import WEIGHTS, choose, facts_of
from rotoscope.settings import Settings
from tests.effects import scenes

NAME = "depth-anything-v2-small"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the model, as a download leaves it."""
    backbone = Dinov2Config(
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=70,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=4,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("data")
    model = DepthAnythingForDepthEstimation(config)
    model.save_pretrained(folder / "preprocessors" / NAME)
    return folder


@pytest.fixture
def model(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> DepthAnything:
    monkeypatch.setattr(depth_anything, "SIDE_ON_CPU", 70)
    return DepthAnything(data_dir / "preprocessors" / NAME, "cpu")


def test_the_shape_of_the_picture_is_kept(model: DepthAnything) -> None:
    """The shorter side is the model's own; both are whole patches."""
    depth_THW = model(scenes.discs(2))
    assert (depth_THW.shape, depth_THW.dtype) == ((2, 70, 140), np.float16)
    upright_THW = model(scenes.discs(1).transpose(0, 2, 1, 3).copy())
    assert upright_THW.shape == (1, 140, 70)


def test_it_sees_colours_as_its_backbone_was_trained(data_dir: Path, model: DepthAnything) -> None:
    """The same depth as the classes give for a picture normalised by hand."""
    picture_HWC = np.full((70, 140, 3), (200, 100, 50), np.uint8)
    classes = DepthAnythingForDepthEstimation.from_pretrained(data_dir / "preprocessors" / NAME)
    by_hand_C = [
        (200 / 255 - 0.485) / 0.229,
        (100 / 255 - 0.456) / 0.224,
        (50 / 255 - 0.406) / 0.225,
    ]
    pixels_BCHW = torch.tensor(by_hand_C).view(1, 3, 1, 1).expand(1, 3, 70, 140)
    with torch.inference_mode():
        expected_HW = classes.eval()(pixel_values=pixels_BCHW).predicted_depth[0].numpy()

    assert model(picture_HWC[None])[0] == pytest.approx(expected_HW, abs=2e-3)


def test_it_is_preferred_once_it_is_here(
    data_dir: Path, tmp_path: Path, model: DepthAnything
) -> None:
    """A job's depth is its, by name and hash, and no warning is due."""
    settings = Settings(data_dir=data_dir, device="cpu")
    control = make_control(scenes.discs(2), "depth", settings, lambda *_: None)

    assert choose("depth", settings) is WEIGHTS[NAME]
    assert control.facts == facts_of(WEIGHTS[NAME], settings)
    assert control.facts.model == NAME
    assert len(control.facts.sha256 or "") == 64
    assert control.warnings == ()
    assert choose("depth", Settings(data_dir=tmp_path)) is WEIGHTS["fastdepth"]


def test_half_a_download_is_not_it(data_dir: Path, tmp_path: Path) -> None:
    """Weights without their configuration are not opened."""
    folder = tmp_path / "preprocessors" / NAME
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    assert choose("depth", Settings(data_dir=tmp_path)) is WEIGHTS["fastdepth"]

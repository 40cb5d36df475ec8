"""Depth Anything V2 through transformers, for whoever has downloaded it."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate
from transformers import AutoModelForDepthEstimation

from rotoscope.media.clip import Frames
from rotoscope.preprocess.steady import Depths

# The shorter side that the model sees: what it was trained on, and less where there is no GPU.
SIDE, SIDE_ON_CPU = 518, 294
PATCH = 14
# Mean and spread of the colours, 0 to 1, that its backbone was trained on.
MEAN_C, SPREAD_C = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DepthAnything:
    """The model of a folder: relative nearness, comparable between frames of a scene."""

    def __init__(self, folder: Path, device: str) -> None:
        self._device = device
        self._side = SIDE_ON_CPU if device == "cpu" else SIDE
        model = AutoModelForDepthEstimation.from_pretrained(folder, use_safetensors=True)
        self._model = model.to(device).eval()

    @torch.inference_mode()
    def __call__(self, frames_THWC: Frames, /) -> Depths:
        nearness_THW = [self._nearness(one)[0] for one in frames_THWC]
        return torch.stack(nearness_THW).cpu().numpy().astype(np.float16)

    def _nearness(self, frame_HWC: Frames) -> torch.Tensor:
        """1 x H x W, at the size of the model's input."""
        pixels_BCHW = torch.from_numpy(frame_HWC).to(self._device).permute(2, 0, 1)[None] / 255
        shrink = self._side / min(pixels_BCHW.shape[2:])
        sides = [max(1, round(side * shrink / PATCH)) * PATCH for side in pixels_BCHW.shape[2:]]
        pixels_BCHW = interpolate(pixels_BCHW, sides, mode="bicubic", antialias=True)
        mean_C11, spread_C11 = (
            torch.tensor(part, device=self._device).view(3, 1, 1) for part in (MEAN_C, SPREAD_C)
        )
        seen_BCHW = (pixels_BCHW.clamp(0, 1) - mean_C11) / spread_C11
        found: torch.Tensor = self._model(pixel_values=seen_BCHW).predicted_depth
        return found

"""Between ComfyUI's tensors and files: frames to a video or a PNG, a video to frames and sound.

A picture batch (IMAGE) is float32 of shape BHWC, RGB, 0 to 1. Sound (AUDIO) is a dict of a
`waveform`, float32 of shape BCT, -1 to 1, and its `sample_rate` in Hz.

B frames or batch, H height, W width, C colour or sound channels, T samples.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict

import av
import torch
from torch import Tensor

SAMPLE_RATE = 48_000
"""Of the silence that stands for a clip without sound, in Hz."""
# Hardly to be told from the frames, at a tenth of their size.
CRF = "8"


class Audio(TypedDict):
    waveform: Tensor
    sample_rate: int


def write_video(images_BHWC: Tensor, fps: float, file: Path) -> None:
    """Write frames as H.264 without thinned colours, which any even or odd size can have.

    Args:
        images_BHWC: At least one RGB frame, 0 to 1; what lies outside is cut off.
        fps: Frames a second.
        file: Where; its name ends in .mp4.
    """
    _, height, width, _ = images_BHWC.shape
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": CRF})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for image_HWC in images_BHWC:
            container.mux(stream.encode(_frame(image_HWC)))
        container.mux(stream.encode(None))


def write_png(image_HWC: Tensor, file: Path) -> None:
    """Write one RGB frame, 0 to 1, without loss."""
    with av.open(str(file), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.height, stream.width = image_HWC.shape[:2]
        stream.pix_fmt = "rgb24"
        container.mux(stream.encode(_frame(image_HWC)))
        container.mux(stream.encode(None))


def read_video(file: Path) -> tuple[Tensor, Audio]:
    """Every frame of a video as BHWC, and its sound; silence of its length where it has none."""
    with av.open(str(file)) as container:
        rate = container.streams.video[0].average_rate or Fraction(25)
        frames = [
            torch.from_numpy(frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]
    images_BHWC = torch.stack(frames).float() / 255
    return images_BHWC, _read_sound(file) or _silence(len(frames) / float(rate))


def _read_sound(file: Path) -> Audio | None:
    with av.open(str(file)) as container:
        if not container.streams.audio:
            return None
        sample_rate = int(container.streams.audio[0].sample_rate)
        resampler = av.AudioResampler(format="fltp")
        pieces_CT = [
            torch.from_numpy(piece.to_ndarray().copy())
            for frame in _with_end(container.decode(audio=0))
            for piece in resampler.resample(frame)
        ]
    return Audio(waveform=torch.cat(pieces_CT, dim=1)[None], sample_rate=sample_rate)


def _with_end(frames: Iterator[Any]) -> Iterator[Any]:
    """The frames and then None, which lets go what the resampler holds back."""
    yield from frames
    yield None


def _silence(seconds: float) -> Audio:
    samples = max(1, round(seconds * SAMPLE_RATE))
    return Audio(waveform=torch.zeros(1, 2, samples), sample_rate=SAMPLE_RATE)


def _frame(image_HWC: Tensor) -> av.VideoFrame:
    array = image_HWC.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().contiguous().numpy()
    return av.VideoFrame.from_ndarray(array, format="rgb24")

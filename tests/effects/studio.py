"""Orders of videos over HTTP, each made once however many tests look at it."""

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rotoscope.client import Client
from rotoscope.media.clip import Clip
from rotoscope.media.encode import encode
from rotoscope.schema.output import Manifest, Planned, Result
from tests.effects.measure import Frames, Recording, read

POLL_S = 0.1
PLAIN = "original video"
"""The prompt that asks for no change."""
BASE: dict[str, Any] = {
    "prompt": PLAIN,
    "loras": [],
    "video_size": {"width": 256, "height": 128},
    "generate_audio": False,
    "num_inference_steps": 8,
    "seed": 1,
}
"""What an order asks for where a test does not say otherwise: small, so that it is quick."""


@dataclass(frozen=True, slots=True)
class Source:
    """An uploaded clip, and its frames as a server decodes them."""

    url: str
    frames_THWC: Frames
    fps: Fraction


class Order:
    """A submitted request; its result is waited for when a test first looks at it."""

    def __init__(self, client: Client, request_id: str, file: Path) -> None:
        self._client = client
        self._file = file
        self.request_id = request_id

    @cached_property
    def result(self) -> Result:
        result = self._client.wait(self.request_id, poll_s=POLL_S)
        assert result.status == "succeeded", result.error
        return result

    @property
    def manifest(self) -> Manifest:
        assert self.result.manifest
        return self.result.manifest

    @cached_property
    def file(self) -> Path:
        return self._client.download(self.result, self._file)

    @cached_property
    def control_file(self) -> Path:
        """What the preprocessor made."""
        file = self._client.download_control(
            self.result, self._file.with_name(f"{self.request_id}-control.mp4")
        )
        assert file
        return file

    @cached_property
    def video(self) -> Recording:
        return read(self.file)

    @property
    def frames(self) -> Frames:
        """Shape (T, H, W, 3)."""
        return self.video.frames_THWC

    @property
    def warned(self) -> dict[str, Any]:
        """Fields whose values were adjusted, each with the value that was used."""
        return {warning.field: warning.used for warning in self.result.warnings or []}


class Studio:
    """One server, whatever stands behind it; what tests upload and order there."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._orders: dict[str, Order] = {}
        self._numbers = count()

    def film(self, frames_THWC: Frames, fps: Fraction | int = 25) -> Source:
        """Upload frames as a video of high quality."""
        clip = Clip(frames_THWC, Fraction(fps))
        name = f"source-{next(self._numbers)}.mp4"
        path = encode(clip, quality="maximum", into=self._folder, name=name).path
        return Source(self._client.upload(path).url, read(path).frames_THWC, clip.fps)

    def picture(self, frame_HWC: Frames) -> str:
        """Upload one picture; its URI comes back."""
        path = self._folder / f"picture-{next(self._numbers)}.png"
        Image.fromarray(np.ascontiguousarray(frame_HWC)).save(path)
        return self._client.upload(path).url

    def file(self, path: Path) -> str:
        """Upload a file as it is; its URI comes back."""
        return self._client.upload(path).url

    def order(self, source: Source, **fields: Any) -> Order:
        """Submit a request, or find the same one; fields that are None are left out of BASE."""
        body = body_of(source, fields)
        key = json.dumps(body, sort_keys=True)
        if key not in self._orders:
            self._orders[key] = self._submit(body)
        return self._orders[key]

    def order_again(self, source: Source, **fields: Any) -> Order:
        """Submit a request although the same one may have been made before."""
        return self._submit(body_of(source, fields))

    def plan(self, source: Source, **fields: Any) -> Planned:
        """What a request would make, which is not made."""
        return self._client.plan(body_of(source, fields))

    def _submit(self, body: dict[str, Any]) -> Order:
        submitted = self._client.submit(body)
        file = self._folder / f"{submitted.request_id}.mp4"
        return Order(self._client, submitted.request_id, file)


def body_of(source: Source, fields: dict[str, Any]) -> dict[str, Any]:
    """The request of these fields; those that are None are left out."""
    body = {"video_url": source.url, **BASE, **fields}
    return {name: value for name, value in body.items() if value is not None}

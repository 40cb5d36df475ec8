"""The nodes: a LoRA to a list of them, and frames to frames and sound.

The key is read from ROTOSCOPE_KEY where ComfyUI runs, and is no widget: what stands in a widget is
saved with the workflow and in every picture that is made by it.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from rotoscope.client import Client
from rotoscope.schema.output import Result, Status

from .frames import Audio, read_video, write_png, write_video
from .host import Host, current_host
from .inputs import Widget, widgets

LOCAL = "http://127.0.0.1:8000"
CATEGORY = "Rotoscope"

Loras = list[dict[str, Any]]


class RotoscopeLora:
    """One LoRA more; chain these for several."""

    CATEGORY: ClassVar = CATEGORY
    FUNCTION: ClassVar = "add"
    RETURN_TYPES: ClassVar = ("ROTOSCOPE_LORAS",)
    RETURN_NAMES: ClassVar = ("loras",)
    DESCRIPTION: ClassVar = "A LoRA for Rotoscope, by URL, Hugging Face repository or name."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        scale = {"default": 1.0, "min": 0.0, "max": 4.0, "step": 0.05}
        return {
            "required": {"path": ("STRING", {"default": ""}), "scale": ("FLOAT", scale)},
            "optional": {
                "weight_name": ("STRING", {"default": ""}),
                "loras": ("ROTOSCOPE_LORAS",),
            },
        }

    def add(
        self, path: str, scale: float, weight_name: str = "", loras: Loras | None = None
    ) -> tuple[Loras]:
        named = {"weight_name": weight_name} if weight_name else {}
        return ([*(loras or []), {"path": path, "scale": scale, **named}],)


class RotoscopeVideoToVideo:
    """The frames restyled, with sound."""

    CATEGORY: ClassVar = CATEGORY
    FUNCTION: ClassVar = "restyle"
    RETURN_TYPES: ClassVar = ("IMAGE", "AUDIO", "FLOAT", "STRING")
    RETURN_NAMES: ClassVar = ("images", "audio", "fps", "manifest")
    DESCRIPTION: ClassVar = "Restyles frames with LTX-2 on a Rotoscope server."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Widget | tuple[str]]]:
        source_fps = {"default": 25.0, "min": 1.0, "max": 120.0, "step": 0.01}
        server = {"default": os.environ.get("ROTOSCOPE_SERVER", LOCAL)}
        return {
            "required": {
                "images": ("IMAGE",),
                "source_fps": ("FLOAT", source_fps),
                **widgets(),
                "server": ("STRING", server),
            },
            "optional": {"first_frame": ("IMAGE",), "loras": ("ROTOSCOPE_LORAS",)},
        }

    def restyle(
        self,
        images: Tensor,
        source_fps: float,
        server: str,
        first_frame: Tensor | None = None,
        loras: Loras | None = None,
        **fields: Any,
    ) -> tuple[Tensor, Audio, float, str]:
        """Send the frames, wait, and read what was made.

        Args:
            images: Frames of shape BHWC, RGB, 0 to 1.
            source_fps: Their rate, in frames a second.
            server: The server's URL.
            first_frame: A batch whose first picture becomes the first frame.
            loras: What the LoRA nodes made.
            fields: The input's plain fields, by the API's names.
        """
        host = current_host()
        with (
            tempfile.TemporaryDirectory(prefix="rotoscope-comfyui-") as name,
            Client(server, os.environ.get("ROTOSCOPE_KEY")) as client,
        ):
            folder = Path(name)
            files = {"video_url": folder / "source.mp4"}
            write_video(images, source_fps, files["video_url"])
            if first_frame is not None:
                files["image_url"] = folder / "first.png"
                write_png(first_frame[0], files["image_url"])
            sent = {field: client.upload(file).url for field, file in files.items()}
            result = _made(client, fields | sent | {"loras": loras or []}, host)
            made_BHWC, audio = read_video(client.download(result, folder / "made"))
        return made_BHWC, audio, _rate(result), _manifest(result)


def _made(client: Client, body: dict[str, Any], host: Host) -> Result:
    """The result of a job; one that nobody waits for any more is cancelled."""

    def watch(status: Status) -> None:
        if status.progress:
            host.show(status.progress.fraction)
        host.check()

    request_id = client.submit(body).request_id
    try:
        return client.wait(request_id, watch)
    except BaseException:
        client.cancel(request_id, running=True)
        raise


def _rate(result: Result) -> float:
    top, _, bottom = (result.media.fps if result.media else "25").partition("/")
    return float(top) / float(bottom or 1)


def _manifest(result: Result) -> str:
    return json.dumps(result.manifest.model_dump(mode="json") if result.manifest else {}, indent=2)


NODE_CLASS_MAPPINGS = {
    "RotoscopeLora": RotoscopeLora,
    "RotoscopeVideoToVideo": RotoscopeVideoToVideo,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "RotoscopeLora": "Rotoscope LoRA",
    "RotoscopeVideoToVideo": "Rotoscope video to video",
}

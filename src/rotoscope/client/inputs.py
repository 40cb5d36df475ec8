"""What `run` takes, as a body of the API: checked here, local files apart.

A file is a path, the bytes themselves or an open binary file; a text with a scheme is a URL that
the server fetches.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from rotoscope.client.errors import InputError
from rotoscope.errors import InvalidInputError
from rotoscope.schema.input import (
    UPLOAD_SCHEME,
    CameraLora,
    IcLora,
    OutputType,
    Preprocessor,
    Quality,
    VideoSizeName,
    parse_input,
)

File = str | Path | bytes | BinaryIO
LoraLike = str | Path | Mapping[str, Any] | tuple[str | Path, float]
"""A LoRA: where it is, or that with its scale, or the fields path, scale and weight_name."""

STAND_IN = UPLOAD_SCHEME + "0" * 32


class OwnSize(TypedDict):
    width: int
    height: int


class Fields(TypedDict, total=False):
    """The input's other fields, by their published names; what is left out has its default."""

    match_video_length: bool
    num_frames: int
    video_size: VideoSizeName | OwnSize
    generate_audio: bool
    use_multiscale: bool
    match_input_fps: bool
    fps: float
    guidance_scale: float
    num_inference_steps: int
    camera_lora: CameraLora
    camera_lora_scale: float
    negative_prompt: str
    seed: int
    enable_prompt_expansion: bool
    video_output_type: OutputType
    video_quality: Quality
    preprocessor: Preprocessor
    ic_lora: IcLora
    ic_lora_scale: float
    video_strength: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A body whose local files are still to be sent."""

    body: Mapping[str, Any]
    files: Mapping[str, File]
    """By field: video_url, image_url."""
    loras: Sequence[tuple[Mapping[str, Any], Path | None]]
    """Each with the file that its path is to be the upload of."""


def ask_for(
    video: File,
    prompt: str,
    image: File | None,
    loras: Sequence[LoraLike],
    fields: Mapping[str, Any],
) -> Asked:
    """The body of a request, with every mistake found that can be found here.

    Raises:
        InputError: A field is wrong, or a file is not there.
    """
    given = {"video_url": video, "image_url": image}
    media = {name: value for name, value in given.items() if value is not None}
    files = {name: value for name, value in media.items() if not is_url(value)}
    wanted = [_lora(one) for one in loras]
    body = {
        **fields,
        "prompt": prompt,
        **{name: STAND_IN if name in files else value for name, value in media.items()},
        "loras": [lora if file is None else {**lora, "path": STAND_IN} for lora, file in wanted],
    }
    if missing := [*_missing(files)]:
        raise InputError(missing)
    _check(body)
    return Asked(body, files, wanted)


def is_url(value: object) -> bool:
    """Whether the server fetches it; everything else is a file here."""
    return isinstance(value, str) and ("://" in value or value.startswith("data:"))


def _lora(one: LoraLike) -> tuple[dict[str, Any], Path | None]:
    """Its fields, and the file if it lies here: other paths are the server's to understand."""
    match one:
        case Mapping():
            fields = dict(one)
        case (place, scale):
            fields = {"path": place, "scale": scale}
        case _:
            fields = {"path": one}
    path = fields.get("path")
    here = isinstance(path, Path) or (
        isinstance(path, str) and not is_url(path) and Path(path).is_file()
    )
    return {**fields, "path": str(path)}, Path(str(path)) if here else None


def _missing(files: Mapping[str, File]) -> Iterator[Mapping[str, Any]]:
    for name, file in files.items():
        if isinstance(file, str | Path) and not Path(file).is_file():
            yield {"loc": ["body", name], "msg": f"there is no file {file}"}


def _check(body: Mapping[str, Any]) -> None:
    try:
        parse_input(json.dumps(body).encode())
    except InvalidInputError as error:
        raise InputError(error.detail) from None

"""The body and the answers of fal's queue for fal-ai/ltx-2-19b/video-to-video/lora.

Its fields are those of our own input, and some more. Of these a few only say how it is to be done
there: they are taken and left out, with a warning where that differs from what was asked. The
others would change the clip in a way that this server cannot, and are refused by name.
"""

import secrets
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from rotoscope.errors import InvalidInputError
from rotoscope.schema.input import (
    MODEL_ID,
    Integer,
    MediaUri,
    VideoToVideoInput,
    parse_body,
)
from rotoscope.schema.output import Adjustment, Answer, FieldError

APPS: dict[str, str] = {"fal-ai/ltx-2-19b/video-to-video/lora": MODEL_ID}
"""fal's names of our models."""

Level = Literal["INFO", "WARNING", "ERROR"]
Word = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]

_NO_VIDEO_CONDITION = "This server cannot do that; leave the field out."
_REFUSED: dict[str, tuple[Any, str]] = {
    "end_image_url": (None, f"A last frame cannot be given. {_NO_VIDEO_CONDITION}"),
    "audio_url": (None, f"Sound of its own cannot be given. {_NO_VIDEO_CONDITION}"),
    "image_strength": (1.0, "The first frame is taken as it is: only 1 is possible."),
    "sync_mode": (False, "The result is a URL, never a data URI: only false is possible."),
}
"""What each field must be, and why nothing else is possible."""
_LEFT_OUT: dict[str, tuple[Any, str]] = {
    "end_image_strength": (1.0, "There is no last frame that it could act on."),
    "audio_strength": (1.0, "There is no sound of its own that it could act on."),
    "acceleration": ("none", "Every step is computed."),
    "enable_safety_checker": (False, "This server has no safety checker."),
    "video_write_mode": ("balanced", "Files are written in one way."),
}
"""What is done whatever the field says, and why."""
LARGEST_SEED = 2**31


class FalInput(VideoToVideoInput):
    """What fal takes: our own input with its defaults, and its own fields."""

    seed: Integer | None = Field(  # type: ignore[assignment] # None draws one
        None, ge=-(2**63), le=2**63 - 1
    )
    enable_prompt_expansion: bool = True
    end_image_url: MediaUri | None = None
    end_image_strength: float = Field(1.0, ge=0, le=1)
    image_strength: float = Field(1.0, ge=0, le=1)
    audio_url: MediaUri | None = None
    audio_strength: float = Field(1.0, ge=0, le=1)
    acceleration: Literal["none", "regular", "high", "full"] = "none"
    enable_safety_checker: bool = False
    video_write_mode: Literal["fast", "balanced", "small"] = "balanced"
    sync_mode: bool = False


class Log(Answer):
    message: str
    level: Level
    source: str
    timestamp: str


class FalSubmitted(Answer):
    request_id: str
    response_url: str
    status_url: str
    cancel_url: str
    status: Literal["IN_QUEUE"] = "IN_QUEUE"
    queue_position: int = Field(ge=0, description="Requests ahead.")
    warnings: list[Adjustment]


class FalStatus(Answer):
    """Where a request is; which of the optional fields are there depends on `status`."""

    request_id: str
    response_url: str
    status_url: str
    cancel_url: str
    status: Word
    queue_position: int | None = Field(None, ge=0, description="Requests ahead, while queued.")
    logs: list[Log] | None = None
    metrics: dict[str, float] | None = None
    error: str | None = None
    error_type: str | None = None


class FalVideo(Answer):
    url: str
    content_type: str
    file_name: str
    file_size: int = Field(description="Bytes.")
    width: int
    height: int
    fps: float
    duration: float = Field(description="Seconds.")
    num_frames: int


class FalOutput(Answer):
    video: FalVideo
    seed: int
    prompt: str = Field(description="The prompt that was used.")


class FalFieldError(FieldError):
    url: str


class FalError(Answer):
    """What is refused or failed: a sentence with its kind, or one entry per field at fault."""

    detail: str | list[FalFieldError]
    error_type: str | None = None


def parse_fal(body: bytes) -> tuple[VideoToVideoInput, tuple[Adjustment, ...]]:
    """Read a body as fal takes it: the input that it means here, and what was left out of it.

    Raises:
        NotJsonError: The body is not JSON.
        InvalidInputError: It does not fit, or asks for what this server cannot do.
    """
    asked = parse_body(body, FalInput)
    if refused := list(_refused(asked)):
        raise InvalidInputError([entry.model_dump() for entry in refused])
    given = asked.model_fields_set & VideoToVideoInput.model_fields.keys()
    values = {name: getattr(asked, name) for name in given} | {
        "seed": secrets.randbelow(LARGEST_SEED) if asked.seed is None else asked.seed,
        "enable_prompt_expansion": asked.enable_prompt_expansion,
    }
    return VideoToVideoInput(**values), tuple(_left_out(asked))


def _refused(asked: FalInput) -> Iterator[FieldError]:
    for field, (possible, why) in _REFUSED.items():
        value = getattr(asked, field)
        if value != possible:
            yield FieldError(loc=["body", field], msg=why, type="feature_not_supported")


def _left_out(asked: FalInput) -> Iterator[Adjustment]:
    for field, (used, why) in _LEFT_OUT.items():
        value = getattr(asked, field)
        if value != used:
            yield Adjustment(field=field, asked=value, used=used, why=why)

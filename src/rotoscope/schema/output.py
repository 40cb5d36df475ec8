"""What the Model API answers, and what a finished job leaves behind.

Two vocabularies: a run that ended is `completed` on /status whether it worked or not, while
/result says `succeeded` or `failed`. Inside there is one state per outcome; the two tables here
are the only place that translates.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

StatusWord = Literal["in_queue", "in_progress", "completed", "cancelled"]
ResultWord = Literal["in_queue", "in_progress", "succeeded", "failed", "cancelled"]
AnyWord = Literal["in_queue", "in_progress", "completed", "succeeded", "failed", "cancelled"]

STATUS_WORD: dict[str, StatusWord] = {
    "in_queue": "in_queue",
    "in_progress": "in_progress",
    "succeeded": "completed",
    "failed": "completed",
    "cancelled": "cancelled",
}
RESULT_WORD: dict[str, ResultWord] = {
    "in_queue": "in_queue",
    "in_progress": "in_progress",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}

# ISO 8601, UTC, always with microseconds.
Timestamp = Annotated[
    datetime,
    PlainSerializer(lambda t: t.isoformat(timespec="microseconds"), return_type=str),
]


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Progress(Answer):
    """How far a running job is, right across both passes of a two-stage generation."""

    stage: str = Field(description="What is being done, such as fetch, denoise, refine, encode.")
    stages: list[str] = Field(description="All stages of this job, in order.")
    step: int = Field(ge=0, description="Steps of this stage that are done.")
    steps: int = Field(ge=0, description="Steps this stage has.")
    fraction: float = Field(ge=0, le=1, description="Share of the whole job that is done.")
    eta_s: float | None = Field(None, ge=0, description="Seconds left, once it can be estimated.")
    preview: str | None = Field(
        None, description="URL of a small picture of how the clip looks so far, while it is made."
    )


class Adjustment(Answer):
    """A value that was changed, so that nothing is adjusted silently."""

    field: str
    asked: Any
    used: Any
    why: str


class Failure(Answer):
    code: str = Field(description="One of the documented error codes.")
    message: str = Field(description="What was wrong and what would be right.")
    field: str | None = Field(None, description="The input field at fault.")
    retryable: bool = Field(description="Whether the same request may work later.")


class Output(Answer):
    """The vendor's shape; this model fills `video` alone."""

    video: str | None = None
    image: str | None = None
    videos: list[str] | None = None
    images: list[str] | None = None


class Media(Answer):
    """Facts of the file that `output` points to."""

    content_type: str
    size: int = Field(description="Bytes.")
    width: int
    height: int
    fps: str = Field(description="Frames a second as an exact fraction, such as 30000/1001.")
    frames: int
    duration_s: float
    audio: bool


class LoraFacts(Answer):
    path: str = Field(description="As it was asked for.")
    source: str | None = Field(
        None, description="The very file on Hugging Face, as owner/name@commit/file."
    )
    revision: str | None = Field(None, description="That commit.")
    scale: float
    sha256: str
    rank: int
    layers: int = Field(description="Layers of the model that the LoRA changes.")


class PreprocessorFacts(Answer):
    """What turned the source into a control video."""

    name: str = Field(description="canny, depth or pose.")
    model: str = Field(description="The model that ran, or the method and its thresholds.")
    sha256: str | None = Field(None, description="Of the model's weights, if it has any.")


class Manifest(Answer):
    """What was really done: enough to make the clip again."""

    model_id: str
    checkpoint: str
    prompt: str = Field(description="The prompt that was used.")
    asked_prompt: str | None = Field(
        None, description="The prompt as sent; a language model may have written a longer one."
    )
    negative_prompt: str
    seed: int
    width: int
    height: int
    frames: int
    fps: str
    steps: int
    guidance_scale: float
    multiscale: bool
    audio: bool
    video_strength: float
    source_sha256: str
    image_sha256: str | None
    preprocessor: PreprocessorFacts | None = None
    loras: list[LoraFacts]
    operator: dict[str, bool | str | float | list[float]] = Field(
        default_factory=dict,
        description="What the operator chose, by the settings' names: plain_video, detailer, "
        "stg_scale, profile, skip_below, guidance_interval, decode_tiles; and the memory plan that "
        "the clip was made under.",
    )
    versions: dict[str, str] = Field(description="Of Rotoscope and the libraries it computes with.")
    input: dict[str, Any] | None = Field(
        None,
        description="The request as accepted, with every default; data URIs by their sha256.",
    )


class ControlFile(Answer):
    """A control video as it is stored."""

    file: str = Field(description="The stored file's key.")
    media: Media


class Outcome(Answer):
    """What a job that succeeded leaves in its row."""

    file: str = Field(description="The stored file's key.")
    media: Media
    control: ControlFile | None = None
    metrics: dict[str, float] = Field(description="Seconds per stage.")
    manifest: Manifest


class ControlVideo(Answer):
    """What the preprocessor made of the source, and the model followed."""

    video: str = Field(description="Its URL.")
    media: Media


class Submitted(Answer):
    request_id: str
    status_url: str
    result_url: str
    cancel_url: str
    warnings: list[Adjustment] = Field(
        [], description="What is adjusted whatever the source is; the status tells the rest."
    )


class SourceFacts(Answer):
    """What probing a source found."""

    width: int = Field(description="As displayed, after rotation and sample aspect.")
    height: int
    fps: str = Field(description="The average rate where it varies, as an exact fraction.")
    duration_s: float
    codec: str


class PlannedPass(Answer):
    """One walk from noise to picture; a two-stage generation has two."""

    stage: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    reference: bool = Field(description="Whether the source's tokens take part.")
    tokens: int = Field(description="Video tokens that the transformer sees at once.")


class Planned(Answer):
    """What a request would make and cost; nothing was queued."""

    model_id: str
    checkpoint: str
    source: SourceFacts
    width: int
    height: int
    frames: int
    fps: str = Field(description="Frames a second as an exact fraction, such as 30000/1001.")
    duration_s: float
    seed: int
    audio: bool
    passes: list[PlannedPass]
    work: dict[str, int] = Field(
        description="Estimated work of each stage; the unit is one token through the model once."
    )
    relative_cost: float = Field(
        description="All of that work, against five seconds of 1280x720 with every default."
    )
    memory_bytes: dict[str, int] | None = Field(
        None,
        description="Estimated memory of the device, under each of the memory plans that the "
        "setting memory names; null where the checkpoint's files are not on the server's machine.",
    )
    warnings: list[Adjustment] = []


class Status(Answer):
    request_id: str
    status: StatusWord
    status_url: str
    result_url: str
    queue_position: int | None = Field(None, ge=1, description="1 is next; only while queued.")
    progress: Progress | None = Field(None, description="Only while running.")
    warnings: list[Adjustment] | None = None
    error: Failure | None = Field(None, description="Only when the run failed.")


class Result(Answer):
    request_id: str
    status: ResultWord
    output: Output | None = Field(None, description="Only when the run succeeded.")
    error: Failure | None = Field(None, description="Only when the run failed.")
    media: Media | None = None
    control: ControlVideo | None = Field(None, description="Only with a preprocessor.")
    metrics: dict[str, float] | None = None
    manifest: Manifest | None = None
    warnings: list[Adjustment] | None = None
    created_at: Timestamp
    finished_at: Timestamp | None
    cost: float | None = Field(None, description="US dollars; only with include_cost=true.")


class Cancelled(Answer):
    request_id: str
    status: StatusWord
    outcome: Literal["cancelled", "cancelling", "not_cancellable"] = Field(
        description="cancelling: it runs, and stops at its next step."
    )


class Listed(Answer):
    """A request as a list tells it."""

    request_id: str
    model_id: str
    status: ResultWord
    status_url: str
    result_url: str
    progress: Progress | None = Field(None, description="Only while running.")
    error: Failure | None = Field(None, description="Only when the run failed.")
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    expires_at: Timestamp | None = Field(
        None, description="When an ended request is forgotten with its files."
    )


class Page(Answer):
    """Some of a key's requests, newest first."""

    requests: list[Listed]
    next_cursor: str | None = Field(
        description="Send it as cursor for what follows; null at the end."
    )


class Uploaded(Answer):
    url: str = Field(description="Usable as video_url, image_url or a LoRA's path.")
    sha256: str
    size: int
    expires_at: Timestamp


class FieldError(Answer):
    loc: list[str | int]
    msg: str
    type: str
    input: Any = None


class ErrorBody(Answer):
    error_code: int
    error_message: str
    detail: list[FieldError] | None = None

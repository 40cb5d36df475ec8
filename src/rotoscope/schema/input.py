"""The body of POST /v1/models/ltx/ltx-2-19b/video-to-video/lora.

Names, order, defaults and bounds are those of the published API;
tests/schema/test_input.py compares them field by field with tests/data/published_input.json.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from rotoscope.errors import InvalidInputError, NotJsonError

MODEL_ID = "ltx/ltx-2-19b/video-to-video/lora"
UPLOAD_SCHEME = "rotoscope://uploads/"
"""How the URI of an upload begins; its id follows."""
LORA_SCHEME = "rotoscope://loras/"
"""How a LoRA that comes with the checkpoint is written; its name follows."""

VideoSizeName = Literal[
    "auto",
    "square_hd",
    "square",
    "portrait_4_3",
    "portrait_16_9",
    "landscape_4_3",
    "landscape_16_9",
]
CameraLora = Literal[
    "dolly_in",
    "dolly_out",
    "dolly_left",
    "dolly_right",
    "jib_up",
    "jib_down",
    "static",
    "none",
]
OutputType = Literal["X264 (.mp4)", "VP9 (.webm)", "PRORES4444 (.mov)", "GIF (.gif)"]
Quality = Literal["low", "medium", "high", "maximum"]
Preprocessor = Literal["depth", "canny", "pose", "none"]
IcLora = Literal["match_preprocessor", "canny", "depth", "pose", "detailer", "none"]

DEFAULT_NEGATIVE_PROMPT = (
    "blurry, out of focus, overexposed, underexposed, low contrast, washed out colors, excessive "
    "noise, grainy texture, poor lighting, flickering, motion blur, distorted proportions, "
    "unnatural skin tones, deformed facial features, asymmetrical face, missing facial features, "
    "extra limbs, disfigured hands, wrong hand count, artifacts around text, inconsistent "
    "perspective, camera shake, incorrect depth of field, background too sharp, background "
    "clutter, distracting reflections, harsh shadows, inconsistent lighting direction, color "
    "banding, cartoonish rendering, 3D CGI look, unrealistic materials, uncanny valley effect, "
    "incorrect ethnicity, wrong gender, exaggerated expressions, wrong gaze direction, mismatched "
    "lip sync, silent or muted audio, distorted voice, robotic voice, echo, background noise, "
    "off-sync audio,incorrect dialogue, added dialogue, repetitive speech, jittery movement, "
    "awkward pauses, incorrect timing, unnatural transitions, inconsistent framing, tilted "
    "camera, flat lighting, inconsistent tone, cinematic oversaturation, stylized filters, or AI "
    "artifacts."
)


def _whole(value: object) -> object:
    """JSON has one kind of number: 121.0 is an integer there."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Printable ASCII without the backslash: URL parsers disagree about all else. Data URIs are as long
# as the body allows, others at most 2,048 characters.
MEDIA_URI = r"^(?:(?:https?|rotoscope)://[!-\[\]-~]{1,2036}|data:[!-\[\]-~]+)$"


def _media_uri(value: str) -> str:
    if re.fullmatch(MEDIA_URI, value):
        return value
    raise PydanticCustomError(
        "uri",
        "Must be an https:// URL of at most 2,048 printable ASCII characters (others "
        "percent-encoded), a data: URI, or the rotoscope:// URI that an upload answered.",
    )


def _size_kind(value: object) -> str | None:
    """Decides between a name and {width, height}, so that an error is about one of them."""
    match value:
        case str():
            return "name"
        case dict() | Size():
            return "size"
        case _:
            return None


Integer = Annotated[int, BeforeValidator(_whole)]
MediaUri = Annotated[
    str,
    AfterValidator(_media_uri),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": MEDIA_URI}),
]


class Contract(BaseModel):
    # A misspelt field is refused: ignoring it would spend minutes of GPU time.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Lora(Contract):
    path: str = Field(
        min_length=1,
        max_length=2048,
        description="An https URL of a .safetensors file, a Hugging Face repository (owner/name), "
        "an upload's URI, rotoscope://loras/ and the name of one that comes with the checkpoint, "
        "or a path inside a folder that the operator listed.",
    )
    scale: float = Field(1.0, ge=0, le=4, description="How strongly the LoRA acts; 0 skips it.")
    weight_name: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="The file to take from a repository that holds several.",
    )


class Size(Contract):
    width: Integer = Field(ge=64, le=4096, description="Pixels.")
    height: Integer = Field(ge=64, le=4096, description="Pixels.")


VideoSize = Annotated[
    Annotated[VideoSizeName, Tag("name")] | Annotated[Size, Tag("size")],
    Discriminator(
        _size_kind,
        custom_error_type="video_size",
        custom_error_message="Must be the name of a size, such as auto, or {width, height}.",
    ),
]


class VideoToVideoInput(Contract):
    prompt: str = Field(
        min_length=1,
        max_length=10_000,
        description="What the result should look like.",
        examples=["black-and-white video, a girl is playing a guitar, film grain"],
    )
    video_url: MediaUri = Field(
        description="The source video: an https URL, a data URI or an upload's URI; at most 100 MB."
    )
    image_url: MediaUri | None = Field(
        None,
        description="An image that becomes the first frame; same forms as video_url, at most "
        "50 MB.",
    )
    loras: tuple[Lora, ...] = Field(
        max_length=10,
        description="LoRAs to apply; may be empty.",
        examples=[[{"path": "Lightricks/LTX-2-19b-IC-LoRA-Detailer", "scale": 1}]],
    )
    match_video_length: bool = Field(
        default=True,
        description="Take the number of frames from the source's duration and the output's fps; "
        "num_frames is then ignored.",
    )
    num_frames: Integer = Field(
        121,
        ge=9,
        le=481,
        description="Frames to make when match_video_length is off; snapped to the nearest 8k+1.",
    )
    video_size: VideoSize = Field(
        "auto",
        description="auto keeps the source's aspect; a name or {width, height} crops to fit.",
    )
    generate_audio: bool = Field(default=True, description="Make sound with the picture.")
    use_multiscale: bool = Field(
        default=True,
        description="Generate at half size first, then upsample and refine at full size.",
    )
    match_input_fps: bool = Field(
        default=True, description="Use the source's frame rate; fps is then ignored."
    )
    fps: float = Field(
        25.0,
        ge=1,
        le=60,
        description="Frames a second when match_input_fps is off.",
    )
    guidance_scale: float = Field(
        3.0,
        ge=1,
        le=10,
        description="How closely to follow the prompt; 1 turns guidance off.",
    )
    num_inference_steps: Integer = Field(
        40, ge=8, le=50, description="Denoising steps of the first stage."
    )
    camera_lora: CameraLora = Field("none", description="A camera movement to add.")
    camera_lora_scale: float = Field(1.0, ge=0, le=1, description="How strong that movement is.")
    negative_prompt: str = Field(
        DEFAULT_NEGATIVE_PROMPT,
        max_length=10_000,
        description="What the result should not look like; unused when guidance_scale is 1.",
    )
    seed: Integer = Field(
        0,
        ge=-(2**63),
        le=2**63 - 1,
        description="The same request with the same seed makes the same video; 0 is a seed too.",
    )
    enable_prompt_expansion: bool = Field(
        default=False, description="Let a language model write a longer prompt first."
    )
    video_output_type: OutputType = Field("X264 (.mp4)", description="Container and codec.")
    video_quality: Quality = Field("high", description="Quality of the encoding.")
    preprocessor: Preprocessor = Field(
        "none", description="Turn the source into a control video first."
    )
    ic_lora: IcLora = Field(
        "match_preprocessor",
        description="The IC-LoRA to load; match_preprocessor takes the preprocessor's own.",
    )
    ic_lora_scale: float = Field(1.0, ge=0, le=1, description="How strongly the IC-LoRA acts.")
    video_strength: float = Field(
        1.0,
        ge=0,
        le=1,
        description="How strongly the source holds the result; 0 leaves the source out.",
    )


Body = TypeVar("Body", bound=BaseModel)

# A screen line or two: longer inputs, such as data URIs, are not sent back.
_LONGEST_ECHO = 200
# How the size's two forms are told apart is no part of a field's place.
_FORMS = {"name", "size"}


def parse_input(body: bytes) -> VideoToVideoInput:
    """Read a request body, or say everything that is wrong with it; raises as parse_body does."""
    return parse_body(body, VideoToVideoInput)


def parse_body(body: bytes, model: type[Body]) -> Body:
    """Read a body of this model.

    Raises:
        NotJsonError: The body is not JSON.
        InvalidInputError: It is, and does not fit; one entry per wrong field, with a near match
            for a field that does not exist.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        if problems[0]["type"] == "json_invalid":
            reason = problems[0]["msg"].removeprefix("Invalid JSON: ")
            raise NotJsonError(f"The body is not JSON: {reason}.") from None
        raise InvalidInputError([_explain(problem, model) for problem in problems]) from None


def _explain(problem: Mapping[str, Any], whole: type[BaseModel]) -> Mapping[str, Any]:
    """One entry of `detail`; the input is left out where it is long, as a data URI is."""
    loc = _place(problem["loc"])
    entry = {"loc": ["body", *loc], "msg": problem["msg"], "type": problem["type"]}
    if problem["type"] == "extra_forbidden":
        entry["msg"] = _unknown_field(loc, whole)
    elif problem["type"] != "missing" and len(repr(problem["input"])) <= _LONGEST_ECHO:
        entry["input"] = problem["input"]
    return entry


def _place(loc: Sequence[int | str]) -> Sequence[int | str]:
    form_follows = len(loc) > 1 and loc[0] == "video_size" and loc[1] in _FORMS
    return (loc[0], *loc[2:]) if form_follows else loc


def _unknown_field(loc: Sequence[int | str], whole: type[BaseModel]) -> str:
    model = whole
    if "loras" in loc:
        model = Lora
    elif "video_size" in loc:
        model = Size
    near = difflib.get_close_matches(str(loc[-1]), model.model_fields, n=1, cutoff=0.5)
    return f"There is no such field{f'; did you mean {near[0]}?' if near else '.'}"

"""POST /v1/models/{model_id}/plan: what a request would make and cost, without making it.

The body is that of a submit, and is read and refused like it. The source is fetched and probed as
a worker does it, a few at a time; what is wrong with it is an answer about its field instead of a
failed job. Image and LoRAs are not fetched. The checkpoint is the one in the server's own settings.
"""

import tempfile
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Response
from fastapi.concurrency import run_in_threadpool

from rotoscope.errors import (
    BodyTooLargeError,
    FileDownloadError,
    FileTooLargeError,
    ForbiddenError,
    InvalidInputError,
    JobError,
    NotJsonError,
    OperatorError,
    UnauthorizedError,
    UnavailableError,
    UnknownModelError,
    WrongContentTypeError,
)
from rotoscope.generation.memory import MODES, Footprint, needed, read_footprint
from rotoscope.generation.plan import Choices, Plan, make_plan
from rotoscope.generation.weights import Checkpoint, find_checkpoint, folder_of, missing_files
from rotoscope.media.facts import Size, VideoInfo
from rotoscope.media.fetch import fetch
from rotoscope.media.probe import probe
from rotoscope.schema.catalogue import MODELS, Entry
from rotoscope.schema.input import MODEL_ID, UPLOAD_SCHEME, VideoToVideoInput, parse_input
from rotoscope.schema.output import FieldError, Planned, PlannedPass, SourceFacts
from rotoscope.settings import Settings
from rotoscope.storage import upload_id
from rotoscope.web.admission import objections
from rotoscope.web.answers import as_json
from rotoscope.web.auth import Owner, client_owner, scheme
from rotoscope.web.bodies import JsonBody
from rotoscope.web.catalogue import find_model
from rotoscope.web.errors import describe, invalid
from rotoscope.web.parts import Parts, PartsDep

AT_ONCE = 2
"""Sources that are fetched and probed at the same time."""
MOST_WAITING = 20
RETRY_AFTER_S = 10

USUAL = VideoToVideoInput(prompt="any", video_url="https://any.example/clip.mp4", loras=())
USUAL_SOURCE = VideoInfo(size=Size(1280, 720), fps=Fraction(25), duration_s=5, codec="h264")
"""Five seconds of it, with every default, are relative cost 1."""

router = APIRouter(
    prefix="/v1",
    tags=["requests"],
    dependencies=[Depends(client_owner), Depends(scheme)],
    responses=describe(UnauthorizedError, ForbiddenError),
)
_INPUT = {"application/json": {"schema": MODELS[MODEL_ID].input_schema}}


async def _model(model_id: str) -> Entry:
    return find_model(model_id)


@router.post(
    "/models/{model_id:path}/plan",
    response_model=Planned,
    openapi_extra={"requestBody": {"required": True, "content": _INPUT}},
    responses=describe(
        NotJsonError,
        UnknownModelError,
        BodyTooLargeError,
        WrongContentTypeError,
        InvalidInputError,
        UnavailableError,
    ),
)
async def plan(
    owner: Owner, model: Annotated[Entry, Depends(_model)], body: JsonBody, parts: PartsDep
) -> Response:
    """Say what a request would make; no job is queued."""
    asked = await run_in_threadpool(_accepted, body, owner, parts)
    checkpoint = _checkpoint(parts.settings)
    _check_room(parts)
    # A look that was given up, as the server ends, may go on in its thread.
    look = partial(_look, asked.video_url, parts)
    info = await run_sync(look, limiter=parts.probes, abandon_on_cancel=True)
    footprint = await run_in_threadpool(_footprint, checkpoint, parts.settings)
    made = _plan(asked, info, checkpoint, parts.settings)
    memory = {mode: needed(footprint, made, mode) for mode in MODES} if footprint else None
    answer = planned(model.model_id, made, info, checkpoint, parts.settings)
    return as_json(answer.model_copy(update={"memory_bytes": memory}))


def planned(
    model_id: str, made: Plan, info: VideoInfo, checkpoint: Checkpoint, settings: Settings
) -> Planned:
    """The plan and its costs, against those of the usual request."""
    usual = _plan(USUAL, USUAL_SOURCE, checkpoint, settings)
    return Planned(
        model_id=model_id,
        checkpoint=checkpoint.name,
        source=SourceFacts(
            width=info.size.width,
            height=info.size.height,
            fps=str(info.fps),
            duration_s=info.duration_s,
            codec=info.codec,
        ),
        width=made.size.width,
        height=made.size.height,
        frames=made.frames,
        fps=str(made.fps),
        duration_s=round(float(made.frames / made.fps), 3),
        seed=made.seed,
        audio=made.audio,
        passes=_passes(made),
        work={stage: round(cost) for stage, cost in made.costs.items()},
        relative_cost=round(sum(made.costs.values()) / sum(usual.costs.values()), 4),
        warnings=list(made.warnings),
    )


def _accepted(body: bytes, owner: str, parts: Parts) -> VideoToVideoInput:
    """What a submit of this body would queue; else the same refusal."""
    asked = parse_input(body)
    if found := objections(asked, owner, parts):
        raise invalid(found)
    return asked


def _checkpoint(settings: Settings) -> Checkpoint:
    try:
        return find_checkpoint(settings.checkpoint)
    except OperatorError as error:
        raise UnavailableError(str(error), retry_after_s=RETRY_AFTER_S) from None


def _check_room(parts: Parts) -> None:
    if find_spec("av") is None:
        raise UnavailableError(
            "This server was installed without the libraries that look at videos, "
            "rotoscope[worker]; submit the request to see its warnings.",
            retry_after_s=RETRY_AFTER_S,
        )
    if parts.probes.statistics().tasks_waiting >= MOST_WAITING:
        raise UnavailableError(
            f"{MOST_WAITING} plans wait already. Try again later.", retry_after_s=RETRY_AFTER_S
        )


def _look(uri: str, parts: Parts) -> VideoInfo:
    """Fetch and probe the source; what fails a job is a wrong field here."""
    with tempfile.TemporaryDirectory(prefix="rotoscope-plan-") as folder:
        try:
            return probe(_source(uri, Path(folder), parts))
        except JobError as error:
            place = ["body", *(error.field or "video_url").split(".")]
            raise invalid([FieldError(loc=place, msg=str(error), type=error.code)]) from None


def _source(uri: str, folder: Path, parts: Parts) -> Path:
    if not uri.startswith(UPLOAD_SCHEME):
        return fetch(
            uri,
            into=folder,
            name="video",
            policy=parts.policy,
            max_bytes=parts.settings.max_video_bytes,
            field="video_url",
        )
    file = parts.storage.upload_file(upload_id(uri) or "")
    if file is None:
        raise FileDownloadError("There is no such upload, or it expired.", field="video_url")
    if file.size > (most := parts.settings.max_video_bytes):
        raise FileTooLargeError(f"The file is larger than {most / 1e6:g} MB.", field="video_url")
    return parts.storage.on_disk(file, folder)


def _footprint(checkpoint: Checkpoint, settings: Settings) -> Footprint | None:
    folder = folder_of(checkpoint.name, settings)
    if not folder.is_dir() or missing_files(checkpoint, folder):
        return None
    full = checkpoint.full_precision or settings.device == "cpu"
    return read_footprint(folder, text_tokens=checkpoint.text_tokens, number=4 if full else 2)


def _plan(
    asked: VideoToVideoInput, info: VideoInfo, checkpoint: Checkpoint, settings: Settings
) -> Plan:
    return make_plan(
        asked, info, checkpoint, max_area=settings.max_area, choices=Choices.of(settings)
    )


def _passes(made: Plan) -> list[PlannedPass]:
    return [
        PlannedPass(
            stage=one.stage,
            width=one.size.width,
            height=one.size.height,
            steps=len(one.sigmas),
            guidance_scale=one.guidance_scale,
            reference=one.reference,
            tokens=made.tokens(one),
        )
        for one in made.passes
    ]

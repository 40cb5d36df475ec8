"""What a worker and the server say to each other; both sides of it are Rotoscope's own.

POST /v1/worker/claim                      Claim -> 200 Assignment, or 204: nothing to do
POST /v1/worker/jobs/{id}/heartbeat        Heartbeat -> 204, or 200 Beaten: stop
PUT  /v1/worker/jobs/{id}/files/{name}     the bytes -> 201 StoredFile
POST /v1/worker/jobs/{id}/succeed          Succeed -> 204
POST /v1/worker/jobs/{id}/fail             Fail -> 204
POST /v1/worker/jobs/{id}/release          Release -> 204: hands the job back, no attempt counted
POST /v1/worker/jobs/{id}/stop             Release -> 204: it was stopped, as its owner asked
GET  /v1/worker/uploads/{upload_id}        the bytes
GET  /v1/worker/pools                      -> 200 Pools
POST /v1/worker/pools/{pool}/pause         -> 200 Pools; resume likewise

Every call carries `Authorization: Bearer <worker key>`, every call about a job the token of its
claim (the file upload in the header `Lease-Token`). 409 means that the lease is lost: stop and
discard. succeed, fail, release and stop may be repeated with the same token after a lost answer.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import (
    Adjustment,
    ControlFile,
    Failure,
    Manifest,
    Media,
    Progress,
)
from rotoscope.settings import PoolName

FactName = Annotated[str, Field(max_length=64)]
Affinity = Annotated[str, Field(max_length=64)]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Presence(Message):
    """Who is there, told with each claim and heartbeat."""

    worker_id: str = Field(min_length=1, max_length=200)
    pool: PoolName = Field(
        "default", description="Jobs and workers of one pool are kept apart from those of others."
    )
    facts: dict[FactName, str | int | float] = Field(
        default_factory=dict,
        max_length=32,
        description="What the worker tells about itself: checkpoint, device, memory.",
    )


class Claim(Presence):
    loaded: tuple[Affinity, ...] = Field(
        (), max_length=32, description="Affinities of the sets of LoRAs that are at hand."
    )
    wait_s: float = Field(20, ge=0, le=60, description="How long to wait for a job.")


class Assignment(Message):
    request_id: str
    model_id: str
    attempt: int
    token: str
    lease_s: float
    heartbeat_s: float
    affinity: str = Field("", description="Equal for jobs with the same LoRAs.")
    warnings: tuple[Adjustment, ...] = Field(
        (), description="Of the submit; the worker's own are told together with them."
    )
    input: VideoToVideoInput


class Heartbeat(Message):
    token: str
    progress: Progress | None = None
    warnings: tuple[Adjustment, ...] = ()
    presence: Presence | None = None


class Beaten(Message):
    """The answer to a heartbeat of a job that is to be stopped."""

    cancelling: bool


class PoolFacts(Message):
    name: str
    paused: bool = Field(description="No job of it is handed out.")
    queued: int
    running: int
    oldest_s: float | None = Field(description="How long the longest waiting job waits.")


class Pools(Message):
    pools: list[PoolFacts]


class StoredFile(Message):
    key: str
    size: int
    sha256: str


class Succeed(Message):
    token: str
    file: str = Field(description="The key that the file upload answered.")
    media: Media
    control: ControlFile | None = Field(None, description="Stored like the result itself.")
    metrics: dict[str, float]
    manifest: Manifest
    warnings: tuple[Adjustment, ...] = ()


class Fail(Message):
    token: str
    error: Failure
    warnings: tuple[Adjustment, ...] = ()


class Release(Message):
    token: str

"""A store in a fresh folder, on a clock that moves only when told."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rotoscope.jobs.sqlite import SqliteJobStore
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Failure, Manifest, Media, Outcome

LEASE_S = 60.0


class Clock:
    """Seconds since 1970, as the database reads them."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


OpenStore = Callable[..., SqliteJobStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[OpenStore]:
    """Opens the store of this test's folder; closed when the test ends."""
    with ExitStack() as stack:

        def open_one(folder: str = "data", max_attempts: int = 2) -> SqliteJobStore:
            store = SqliteJobStore(
                tmp_path / folder, lease_s=LEASE_S, max_attempts=max_attempts, clock=clock
            )
            return stack.enter_context(store)

        yield open_one


@pytest.fixture
def store(open_store: OpenStore) -> SqliteJobStore:
    return open_store()


@pytest.fixture
def asked() -> VideoToVideoInput:
    return VideoToVideoInput(
        prompt="a red bicycle", video_url="https://example.org/a.mp4", loras=()
    )


@pytest.fixture
def outcome() -> Outcome:
    media = Media(
        content_type="video/mp4",
        size=10,
        width=64,
        height=64,
        fps="25",
        frames=9,
        duration_s=0.36,
        audio=False,
    )
    manifest = Manifest(
        model_id="m",
        checkpoint="mini",
        prompt="a red bicycle",
        negative_prompt="",
        seed=0,
        width=64,
        height=64,
        frames=9,
        fps="25",
        steps=8,
        guidance_scale=3.0,
        multiscale=False,
        audio=False,
        video_strength=1.0,
        source_sha256="0" * 64,
        image_sha256=None,
        loras=[],
        versions={"rotoscope": "0.1.0"},
    )
    return Outcome(
        file="outputs/x/1-0/out.mp4", media=media, metrics={"denoise": 1.5}, manifest=manifest
    )


@pytest.fixture
def failure() -> Failure:
    return Failure(code="internal_error", message="It broke.", retryable=True)

"""What our encoder writes, served by a real server, in a browser's own player."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Request

from rotoscope.cli.children import Child
from rotoscope.client import Client
from rotoscope.media.clip import Audio, Clip
from rotoscope.media.encode import encode
from rotoscope.media.formats import FORMATS
from rotoscope.schema.input import OutputType
from rotoscope.worker.api import WorkerApi
from tests.browser.conftest import OpenPage

PLAYER = Path(__file__).with_name("player.js").read_text()
KEY = "a-worker-key-of-this-test"
VIDEOS: tuple[OutputType, ...] = ("X264 (.mp4)", "VP9 (.webm)")
GIF: OutputType = "GIF (.gif)"
WIDTH, HEIGHT, COUNT, FPS, RATE = 192, 128, 50, Fraction(25), 48_000
SECONDS = float(COUNT / FPS)
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200))
NEAR = 12
"""Of 255. Chromium's own arithmetic is up to 9 off in blue. A frame converted by BT.601 and read by
BT.709, or the other way, is 15 and more off in the very first of these colours."""
CLICK_FRAMES = (0, 25, 49)


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, and how to put a file where it serves results."""

    url: str
    put: Callable[[Path], str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`rotoscope serve`, and one job in the hands of a worker that stores file after file."""
    folder = tmp_path_factory.mktemp("served")
    settings = {"DATA_DIR": str(folder), "PORT": "0", "ANONYMOUS": "true", "WORKER_KEY": KEY}
    environment = {f"ROTOSCOPE_{name}": value for name, value in settings.items()}
    server = Child("serve", environment | {"ROTOSCOPE_LEASE_S": "3600"}, None)
    try:
        url = server.announced()
        with Client(url) as client, WorkerApi(url, KEY, worker_id="browser") as worker:
            source = client.upload(encode(coloured(), quality="low", into=folder).path)
            client.submit({"prompt": "a", "video_url": source.url, "loras": []})
            job = worker.claim(wait_s=10)
            assert job
            yield Served(url, lambda file: f"{url}/files/{worker.store(job, file, file.name).key}")
    finally:
        server.end()


@pytest.fixture(scope="module")
def links(served: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[OutputType, str]:
    """The same clip in each format that browsers play."""
    folder = tmp_path_factory.mktemp("links")
    return {
        name: served.put(encode(coloured(), quality="high", into=folder, output_type=name).path)
        for name in (*VIDEOS, GIF)
    }


@pytest.fixture
def player(page: OpenPage, served: Served) -> Page:
    """A page of the server's own, so that files may be drawn and read there."""
    opened = page()
    opened.goto(f"{served.url}/healthz")
    opened.evaluate(PLAYER)
    return opened


def coloured() -> Clip:
    """Frames of one colour each, in turn; clicks as three of them begin."""
    frames_THWC = np.empty((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    frames_THWC[:] = np.array([COLOURS[i % 5] for i in range(COUNT)])[:, None, None]
    samples_CS = np.zeros((2, round(SECONDS * RATE)), np.float32)
    for frame in CLICK_FRAMES:
        start = round(frame / FPS * RATE)
        samples_CS[:, start : start + 96] = 0.5 * np.cos(np.arange(96) / 2)
    return Clip(frames_THWC, FPS, Audio(samples_CS, RATE))


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_plays(name: OutputType, player: Page, links: dict[OutputType, str]) -> None:
    """It tells its size, and its length to a frame; its time goes on, and it has sound."""
    facts = player.evaluate("url => player.open(url)", links[name])
    assert facts["size"] == [WIDTH, HEIGHT]
    assert facts["duration"] == pytest.approx(SECONDS, abs=float(1 / FPS))

    decoded = player.evaluate("() => player.play(0.4)")
    assert decoded["frames"] >= 10
    assert decoded["sound"] > 0


@pytest.mark.parametrize("name", VIDEOS)
def test_each_frame_is_found_and_has_its_colour(
    name: OutputType, player: Page, links: dict[OutputType, str]
) -> None:
    """Forwards, backwards and at both ends, as BT.709."""
    player.evaluate("url => player.open(url)", links[name])

    for frame in (0, 1, 2, 3, 4, 49, 27, 11):
        shown = colour_at(player, (frame + Fraction(1, 2)) / FPS, COLOURS[frame % 5])
        assert shown == pytest.approx(COLOURS[frame % 5], abs=NEAR), frame


@pytest.mark.parametrize("name", VIDEOS)
def test_sound_is_heard_at_its_frame(
    name: OutputType, player: Page, links: dict[OutputType, str]
) -> None:
    """To a thousandth of a second: the browser skips what codecs put before the first sample."""
    heard = player.evaluate("([url, rate]) => player.clicks(url, rate)", [links[name], RATE])

    wanted = [float(frame / FPS) for frame in CLICK_FRAMES]
    assert [at / RATE for at in heard["found"]] == pytest.approx(wanted, abs=1e-3)
    assert heard["length"] / RATE == pytest.approx(SECONDS, abs=float(1 / FPS))


def test_a_browser_seeks_without_the_whole_file(
    player: Page, served: Served, tmp_path: Path
) -> None:
    """It asks for a range near the end of a file of 12 MB, and shows what is there."""
    clip = noisy()
    encoded = encode(clip, quality="low", into=tmp_path)
    link = served.put(encoded.path)
    asked: list[Request] = []
    player.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - marked by it
    player.evaluate("url => player.open(url)", link)

    last = (len(clip.frames_THWC) - Fraction(1, 2)) / FPS
    shown = colour_at(player, last, COLOURS[4])

    assert shown == pytest.approx(COLOURS[4], abs=NEAR)
    assert {answer.status for one in asked if (answer := one.response())} == {206}
    starts = [int(one.headers["range"].removeprefix("bytes=").split("-")[0]) for one in asked]
    assert max(starts) > encoded.media.size // 2, starts


def colour_at(player: Page, seconds: Fraction, expected: Sequence[int]) -> Sequence[float]:
    """What the video shows at a time; what was drawn before is waited out for ten seconds."""
    script = "([time, expected, near]) => player.at(time, expected, near)"
    shown: Sequence[float] = player.evaluate(script, [float(seconds), [*expected], NEAR])
    return shown


def noisy() -> Clip:
    """Noise, which no codec makes small, but for a last frame of one colour.

    A browser reads ten megabytes ahead; only beyond them does it ask for a range.
    """
    noise = np.random.default_rng(1).integers(0, 256, (300, 384, 384, 3), dtype=np.uint8)
    noise[-1] = COLOURS[4]
    return Clip(noise, FPS)


def test_a_gif_plays_in_time_for_ever(player: Page, links: dict[OutputType, str]) -> None:
    """Each frame at its time, as long as it should be, in its own colour; a page shows it."""
    seen = player.evaluate("url => player.frames(url, 'image/gif')", links[GIF])

    assert seen["endless"]
    assert len(seen["frames"]) == COUNT
    for index, frame in enumerate(seen["frames"]):
        assert frame["starts"] == pytest.approx(float(index / FPS), abs=0.005)
        assert frame["lasts"] == pytest.approx(float(1 / FPS), abs=0.005)
        assert frame["colour"] == pytest.approx(COLOURS[index % 5], abs=NEAR)
    assert player.evaluate("url => player.show(url)", links[GIF]) == [WIDTH, HEIGHT]
    assert FORMATS[GIF].content_type == player.evaluate(
        "async url => (await fetch(url, {method: 'HEAD'})).headers.get('content-type')", links[GIF]
    )

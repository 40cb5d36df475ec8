"""However a source comes, by URL, in the request or as an upload, the same checks meet it."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rotoscope.errors import UnsupportedImageError, UnsupportedVideoError, VideoTooLargeError
from rotoscope.generation.weights import CHECKPOINTS
from rotoscope.media.clip import Size
from rotoscope.media.decode import probe
from rotoscope.media.image import load_image
from rotoscope.settings import Settings
from rotoscope.worker.inputs import Fetcher, Inputs, fetch_inputs
from tests.https_site import HttpsSite, https_site
from tests.media.conftest import make_claiming, make_video
from tests.worker.stand_ins import Server, make_input

PLAYLIST = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
SIZE = Size(64, 48)

Bring = Callable[..., Inputs]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HttpsSite]:
    with https_site(tmp_path) as opened:
        yield opened


@pytest.fixture(params=["URL", "data", "upload"])
def bring(request: pytest.FixtureRequest, site: HttpsSite, server: Server, tmp_path: Path) -> Bring:
    """Give files to a job by that way, as a worker fetches them; fields by name."""
    own = tmp_path / "job"
    own.mkdir()
    settings = Settings(
        data_dir=tmp_path / "data", fetch_private_hosts=("127.0.0.1",), fetch_ca_file=site.ca_file
    )

    def place(field: str, content: bytes) -> str:
        match request.param:
            case "URL":
                return site.serve_bytes(f"/{field}", content)
            case "data":
                return f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
            case _:
                server.uploads[field] = content
                return f"rotoscope://uploads/{field}"

    def brought(**contents: bytes) -> Inputs:
        fields = {field: place(field, content) for field, content in contents.items()}
        with server.connect() as api:
            fetcher = Fetcher(settings, api, own, CHECKPOINTS["mini"])
            return fetch_inputs(make_input(**fields), fetcher)

    return brought


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return make_video(tmp_path / "film.mp4").read_bytes()


def test_a_video_is_read(bring: Bring, film: bytes) -> None:
    """Whatever it is called there: by what it is."""
    assert probe(bring(video_url=film).video.path).size == SIZE


def test_a_playlist_is_refused(bring: Bring) -> None:
    """Not followed."""
    brought = bring(video_url=PLAYLIST)

    with pytest.raises(UnsupportedVideoError, match="playlist"):
        probe(brought.video.path)


def test_a_bomb_is_refused(bring: Bring, tmp_path: Path) -> None:
    """Before its pixels are decoded."""
    bomb = make_claiming(tmp_path / "bomb.avi", (16000, 16000)).read_bytes()
    brought = bring(video_url=bomb)

    with pytest.raises(VideoTooLargeError):
        probe(brought.video.path)


def test_an_image_that_is_none_is_refused(bring: Bring, film: bytes) -> None:
    """A video is no first frame."""
    brought = bring(video_url=film, image_url=film)

    assert brought.image
    with pytest.raises(UnsupportedImageError):
        load_image(brought.image.path, size=SIZE)

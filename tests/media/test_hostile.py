"""Files made to harm: nothing is opened or visited, and time and memory have an end."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread

import av
import pytest

from rotoscope.errors import JobError, UnsupportedVideoError, VideoTooLargeError
from rotoscope.media import sandbox
from rotoscope.media.clip import Size
from rotoscope.media.decode import decode, probe
from rotoscope.media.webp import lengths
from tests.media import hostile
from tests.media.corpus import clip, one_reference, worst_error
from tests.media.forks import Fork, Forks, forks

SMALL = Size(96, 64)


@pytest.fixture(scope="module", params=["confined", "limits alone"])
def children(request: pytest.FixtureRequest) -> Iterator[Forks]:
    """Both as on x86-64 and as where neither filter nor namespace is to be had."""
    with forks(filtered=request.param == "confined") as opened:
        yield opened


@pytest.fixture
def started(children: Forks, monkeypatch: pytest.MonkeyPatch) -> list[Fork]:
    """The children that were started, in order."""
    return record(children, monkeypatch)


def record(children: Forks, monkeypatch: pytest.MonkeyPatch) -> list[Fork]:
    started: list[Fork] = []

    def start(*given: object) -> Fork:
        started.append(children.start(*given))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(sandbox, "_start", start)
    return started


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "v.mp4"


class Canary:
    """A server that hears every connection, and a pipe that notices when it is opened."""

    def __init__(self, folder: Path) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0)
        path = folder / "canary.ts"
        os.mkfifo(path)
        self._opened = Event()
        self._watch = Thread(target=self._wait)
        self.bait = hostile.Bait(f"http://127.0.0.1:{self._server.getsockname()[1]}", path)
        self._watch.start()

    def _wait(self) -> None:
        # Returns as soon as anybody opens it to read.
        with self.bait.path.open("wb"):
            self._opened.set()

    def was_visited(self) -> bool:
        with suppress(BlockingIOError):
            self._server.accept()[0].close()
            return True
        return False

    def was_opened(self) -> bool:
        return self._opened.is_set()

    def close(self) -> None:
        self._server.close()
        end = os.open(self.bait.path, os.O_RDONLY | os.O_NONBLOCK)
        self._watch.join(60)
        os.close(end)


@contextmanager
def canary_in(folder: Path) -> Iterator[Canary]:
    canary = Canary(folder)
    try:
        yield canary
    finally:
        canary.close()


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    with canary_in(tmp_path) as opened:
        yield opened


def test_the_canaries_sing(canary: Canary, tmp_path: Path) -> None:
    """FFmpeg without our lists does visit what a playlist names, and opens a script's files."""
    lists = {"protocol_whitelist": "file,http,tcp", "allowed_extensions": "ALL", "safe": "0"}
    lists["extension_picky"] = "0"
    playlist, script = tmp_path / "a.m3u8", tmp_path / "a.ffconcat"
    playlist.write_bytes(hostile.playlist(canary.bait))
    script.write_bytes(hostile.concat_script(canary.bait))

    visitor = Thread(target=try_to_open, args=(playlist, lists))
    visitor.start()
    for _ in range(600):
        if visited := canary.was_visited():
            break
        time.sleep(0.05)
    visitor.join(60)
    try_to_open(script, lists)

    assert visited
    assert canary.was_opened()


def test_the_pointed_film_would_be_opened(canary: Canary, tmp_path: Path) -> None:
    """By FFmpeg, when told to follow such pointers: they are well made."""
    film = tmp_path / "a.mov"
    film.write_bytes(hostile.external_data(canary.bait))

    with (
        suppress(av.error.FFmpegError),
        av.open(str(film), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container,
    ):
        list(container.demux(video=0))

    assert canary.was_opened()


def try_to_open(path: Path, options: dict[str, str]) -> None:
    with suppress(av.error.FFmpegError):
        av.open(str(path), options=options, timeout=1).close()


@pytest.mark.parametrize("make", hostile.DISGUISES, ids=lambda make: make.__name__)
@pytest.mark.usefixtures("started")
def test_what_points_elsewhere_is_refused(
    file: Path, canary: Canary, make: Callable[[hostile.Bait], bytes]
) -> None:
    """Dressed as an mp4, it is no video, and nobody goes where it points."""
    file.write_bytes(make(canary.bait))

    with pytest.raises(UnsupportedVideoError):
        probe(file)

    assert not canary.was_visited()
    assert not canary.was_opened()


@pytest.mark.parametrize("make", hostile.DISGUISES, ids=lambda make: make.__name__)
@pytest.mark.usefixtures("started")
def test_first_bytes_are_not_the_only_guard(
    file: Path,
    canary: Canary,
    make: Callable[[hostile.Bait], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The child itself refuses them, too."""
    file.write_bytes(make(canary.bait))
    monkeypatch.setattr(sandbox, "_sniff", lambda *_: None)

    with pytest.raises(UnsupportedVideoError):
        probe(file)

    assert not canary.was_visited()
    assert not canary.was_opened()


@pytest.mark.parametrize("make", hostile.POINTERS, ids=lambda make: make.__name__)
@pytest.mark.usefixtures("started")
def test_what_a_video_names_beside_its_pictures_is_left_alone(
    file: Path, canary: Canary, make: Callable[[hostile.Bait], bytes]
) -> None:
    """Its own pictures are shown, or it is refused; the other file is not opened."""
    data = make(canary.bait)
    named = (str(canary.bait.path).encode(), canary.bait.url.encode())
    assert any(name in data for name in named)
    file.write_bytes(data)

    with suppress(JobError):
        frames = decode(file, frames=1, fps=Fraction(25), size=SMALL)
        assert min(worst_error(frames[0], index, lambda p: p) for index in (0, 1)) < 8

    assert not canary.was_visited()
    assert not canary.was_opened()


@pytest.mark.parametrize(
    "data",
    [hostile.huge_gif(), hostile.huge_webp(), hostile.huge_mkv()],
    ids=["gif", "webp", "mkv"],
)
def test_huge_sizes_in_small_files(file: Path, started: list[Fork], data: bytes) -> None:
    """Refused by what they claim, before there is memory for it."""
    assert len(data) < 1000
    file.write_bytes(data)

    with pytest.raises((VideoTooLargeError, UnsupportedVideoError)):
        probe(file)

    assert started[-1].returncode == 3
    assert started[-1].peak_bytes < 200 << 20


@pytest.mark.parametrize(
    "make", [hostile.many_traks, hostile.many_tracks, hostile.many_lists], ids=lambda m: m.__name__
)
def test_very_many_streams(file: Path, started: list[Fork], make: Callable[[int], bytes]) -> None:
    """As many as fit into a file: it is refused, or read, within the limits."""
    file.write_bytes(make(1_000_000 if make is hostile.many_traks else 100_000))

    with pytest.raises(JobError):
        probe(file)

    assert started[-1].peak_bytes < 2 << 30


@pytest.mark.usefixtures("started")
def test_a_picture_that_stays_for_days(tmp_path: Path) -> None:
    """Two pictures ten days apart: what was asked for is given, and no more."""
    file = tmp_path / "v.mkv"
    days_ms = 10 * 24 * 3600 * 1000
    clip(file, count=2, times=[0, days_ms], rate=1000, setup=one_reference)

    info = probe(file)
    frames = decode(file, frames=30, fps=Fraction(25), size=SMALL)

    assert info.duration_s == pytest.approx(days_ms / 1000, rel=1e-3)
    assert len(frames) == 30
    assert worst_error(frames[-1], 0, lambda p: p) < 8


@pytest.mark.usefixtures("started")
def test_webps_of_countless_empty_chunks_end(file: Path) -> None:
    """A chunk that says it is empty moves on by its head alone."""
    canvas = hostile.chunk(b"VP8X", b"\x02\0\0\0", bytes(6))
    file.write_bytes(hostile.chunk(b"RIFF", b"WEBP", canvas, hostile.chunk(b"NONE") * 300_000))

    with pytest.raises(JobError, match="no frame"):
        probe(file)
    with file.open("rb") as opened:
        assert list(lengths(opened.fileno())) == []


@pytest.mark.usefixtures("started")
def test_a_megabyte_of_noise_after_each_magic(file: Path) -> None:
    """What starts like a video and goes on like nothing is refused."""
    for head in (
        hostile.FTYP, b"\x1a\x45\xdf\xa3\x84", b"RIFF\xff\xff\xff\x7fAVI LIST", b"GIF89a",
        b"FLV\x01\x05\0\0\0\x09", b"OggS\0\x02", b"\0\0\x01\xba", b"G@\0\x10",
    ):  # fmt: skip
        file.write_bytes(head + hostile.noise(1 << 20))
        with suppress(JobError):
            decode(file, frames=5, fps=Fraction(25), size=SMALL)


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures of 36 million pixels, in a file of some megabytes."""
    side = 6000
    path = tmp_path_factory.mktemp("heavy") / "v.avi"
    path.write_bytes(hostile.avi([hostile.picture_jpeg(side, side)] * 20, (side, side)))
    return path


def test_a_video_that_takes_too_long_is_ended(heavy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor's time that it took, however busy the machine is."""
    with forks(CPU_SECONDS=1) as children:
        started = record(children, monkeypatch)
        with pytest.raises(UnsupportedVideoError, match="took more than a video may take"):
            decode(heavy, frames=20, fps=Fraction(25), size=SMALL)

    assert started[-1].returncode is not None
    assert started[-1].returncode < 0


def test_a_video_that_takes_too_much_memory_is_refused(
    heavy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that reason."""
    with forks(MEMORY_BYTES=400 << 20) as children:
        started = record(children, monkeypatch)
        with pytest.raises(JobError):
            decode(heavy, frames=20, fps=Fraction(25), size=SMALL)

    assert started[-1].peak_bytes < 400 << 20


def test_the_largest_picture_is_read(heavy: Path, started: list[Fork]) -> None:
    """Within a quarter of the memory that a child may have."""
    assert probe(heavy).size == Size(6000, 6000)
    frames = decode(heavy, frames=2, fps=Fraction(25), size=SMALL)

    assert len(frames) == 2
    assert started[-1].peak_bytes < 1 << 30

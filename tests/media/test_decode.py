"""Probe and decode: what is shown, when, how large and in which colours; and what is no video."""

import signal
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from rotoscope.errors import (
    JobError,
    UnsupportedVideoError,
    VideoTooLargeError,
    VideoTooShortError,
)
from rotoscope.media import sandbox
from rotoscope.media.clip import Size
from rotoscope.media.decode import decode, probe
from tests.media.conftest import (
    COLOURS,
    add_sound,
    colour_of,
    corner,
    make_claiming,
    make_video,
    plain,
    set_rotation,
    write_tone,
)

SMALL = Size(64, 48)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "v.mp4"


def read(path: Path, count: int, fps: Fraction | int = 25, size: Size = SMALL) -> Any:
    return decode(path, frames=count, fps=Fraction(fps), size=size)


def colours(frames: Any) -> list[int]:
    return [colour_of(frame) for frame in frames]


def test_a_plain_clip(file: Path) -> None:
    """Each frame once, in order, at its own size."""
    make_video(file, count=10)

    info = probe(file)
    frames = read(file, 10)

    assert (info.size, info.fps, info.codec) == (SMALL, 25, "h264")
    assert info.duration_s == pytest.approx(0.4)
    assert frames.shape == (10, 48, 64, 3)
    assert colours(frames) == [0, 1, 2, 3, 4] * 2


def test_no_more_than_asked_no_more_than_there_is(file: Path) -> None:
    """Fewer frames than asked for where the source ends."""
    make_video(file, count=10)

    assert colours(read(file, 3)) == [0, 1, 2]
    assert len(read(file, 100)) == 10


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (50, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (Fraction(25, 2), [0, 2, 4]),
        (Fraction(30000, 1001), [0, 0, 1, 2, 3, 4]),
    ],
)
def test_another_rate_shows_what_was_shown_then(
    file: Path, fps: Fraction, expected: list[int]
) -> None:
    """Frames are repeated or left out by their time, not by their number."""
    make_video(file, count=5)

    assert colours(read(file, 100, fps)) == expected


def test_variable_rates_are_read_by_time(file: Path) -> None:
    """A frame that is held for long is held; the rate is the average."""
    times = [0, 40, 80, 600, 640]
    make_video(file, count=5, rate=1000, times=times)

    frames = read(file, 15)

    assert colours(frames[:3]) == [0, 1, 2]
    assert colours(frames[2:15]) == [2] * 13
    assert float(probe(file).fps) == pytest.approx(5 / 0.68, rel=0.1)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), 60])
def test_times_in_milliseconds_repeat_and_lose_nothing(
    tmp_path: Path, rate: Fraction | int
) -> None:
    """Matroska rounds times to its clock; at the file's own rate each frame comes once."""
    path = make_video(tmp_path / "v.mkv", count=30, rate=rate)

    assert probe(path).fps == rate
    assert colours(read(path, 40, rate)) == [0, 1, 2, 3, 4] * 6


def test_what_an_edit_list_cuts_off_does_not_count(file: Path) -> None:
    """Trimmed on a phone, a clip is as long as what is shown of it."""
    times = [-120, -80, -40, *range(0, 400, 40)]
    make_video(file, count=13, rate=1000, times=times, setup=without_b_frames)

    # The last frame's own length is not in such a file.
    assert 0.36 < probe(file).duration_s <= 0.4
    assert colours(read(file, 9)) == [3, 4, 0, 1, 2, 3, 4, 0, 1]


def without_b_frames(stream: Any) -> None:
    stream.codec_context.max_b_frames = 0


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_file_that_does_not_say_its_length(tmp_path: Path, suffix: str) -> None:
    """Streamed recordings have no duration in their header; it is counted."""
    path = tmp_path / f"v.{suffix}"
    codec = "libvpx" if suffix == "webm" else "libx264"
    live = {"live": "1"} if suffix == "webm" else {}
    make_video(path, count=10, codec=codec, options=live)

    assert probe(path).duration_s == pytest.approx(0.4, abs=0.05)
    assert len(read(path, 100)) == 10


@pytest.mark.parametrize(
    ("degrees", "size", "red"),
    [
        (0, (64, 48), (0, 0)),
        (90, (48, 64), (0, 1)),
        (180, (64, 48), (1, 1)),
        (270, (48, 64), (1, 0)),
    ],
)
def test_rotated_clips_come_upright(
    file: Path, degrees: int, size: tuple[int, int], red: tuple[int, int]
) -> None:
    """Phones write how to turn the picture; size and pixels follow it."""
    make_video(file, count=3, picture=corner)
    set_rotation(file, degrees)

    info = probe(file)
    frame = read(file, 1, size=info.size)[0]

    assert info.size == Size(*size)
    height, width, _ = frame.shape
    quarters = frame.reshape(2, height // 2, 2, width // 2, 3)[..., 0].mean(axis=(1, 3))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == red


def test_wide_pixels_make_a_wide_picture(file: Path) -> None:
    """Sample aspect is applied, so that circles stay circles."""

    def setup(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    make_video(file, setup=setup)

    assert probe(file).size == Size(96, 48)


def test_another_aspect_is_covered_and_cut_to_the_centre(file: Path) -> None:
    """Nothing is squeezed, no bars are added."""

    def thirds(_: int, width: int, height: int) -> Any:
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        pixels[:, : width // 4], pixels[:, -width // 4 :] = (220, 30, 30), (30, 30, 220)
        pixels[:, width // 4 : -width // 4] = (30, 220, 30)
        return pixels

    make_video(file, size=(128, 64), picture=thirds)

    frame = read(file, 1, size=Size(32, 32))[0].astype(int)

    assert frame.shape == (32, 32, 3)
    assert (frame[4:-4, 4:-4, 1] > 150).all()


def tagged(matrix: int, full: bool = False) -> dict[str, Callable[[Any], Any]]:  # noqa: FBT002
    """Pixels converted by `matrix`, and a stream that says so."""
    levels = ColorRange.JPEG if full else ColorRange.MPEG

    def setup(stream: Any) -> None:
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = matrix
        context.color_range = levels

    def prepare(frame: VideoFrame) -> VideoFrame:
        return frame.reformat(
            format=setup_format, dst_colorspace=spaces[matrix],
            src_color_range=ColorRange.JPEG, dst_color_range=levels,
        )  # fmt: skip

    setup_format = "yuv444p"
    spaces = {1: Colorspace.ITU709, 5: Colorspace.ITU601}
    return {"setup": setup, "prepare": prepare}


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (1, True)])
def test_colours_follow_the_tags(file: Path, matrix: int, *, full: bool) -> None:
    """BT.709 and BT.601, limited and full range, all come out as they went in."""
    make_video(
        file,
        count=5,
        pix_fmt="yuv444p",
        **tagged(matrix, full),  # type: ignore[arg-type]
    )

    frames = read(file, 5).astype(int)

    for frame, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(frame[8:-8, 8:-8].mean(axis=(0, 1)) - colour).max() <= 5


@pytest.mark.parametrize(("height", "matrix"), [(720, 1), (480, 5)])
def test_untagged_colours_are_guessed_as_players_do(file: Path, height: int, matrix: int) -> None:
    """HD is BT.709, smaller is BT.601."""
    given = tagged(matrix)
    make_video(file, count=1, size=(128, height), pix_fmt="yuv444p", prepare=given["prepare"])

    frame = read(file, 1, size=Size(128, height))[0].astype(int)

    assert np.abs(frame[8:-8, 8:-8].mean(axis=(0, 1)) - COLOURS[0]).max() <= 5


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [
        ("libx264", "yuv420p10le", "a.mp4"),
        ("libx265", "yuv420p10le", "a.mp4"),
        ("libvpx-vp9", "yuv420p", "a.webm"),
        ("prores_ks", "yuv422p10le", "a.mov"),
        ("mjpeg", "yuvj420p", "a.avi"),
        ("mpeg4", "yuv420p", "a.avi"),
        ("gif", "rgb8", "a.gif"),
    ],
)
def test_the_usual_codecs_are_read(tmp_path: Path, codec: str, pix_fmt: str, name: str) -> None:
    """Ten bits, other families, other containers."""
    path = make_video(
        tmp_path / name, count=5, codec=codec, pix_fmt=pix_fmt,
        prepare=lambda frame: frame.reformat(format=pix_fmt),
    )  # fmt: skip

    assert colours(read(path, 5)) == [0, 1, 2, 3, 4]


def test_tagged_colours_are_not_guessed(file: Path) -> None:
    """HD that says BT.601 is BT.601."""
    make_video(
        file,
        count=1,
        size=(128, 720),
        pix_fmt="yuv444p",
        **tagged(5),  # type: ignore[arg-type]
    )

    frame = read(file, 1, size=Size(128, 720))[0].astype(int)

    assert np.abs(frame[8:-8, 8:-8].mean(axis=(0, 1)) - COLOURS[0]).max() <= 5


def test_hdr_is_not_washed_out(tmp_path: Path) -> None:
    """Ten bits of BT.2020 and PQ come out as the grey that they stand for."""

    def setup(stream: Any) -> None:
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = BT2020, BT2020, PQ
        context.color_range = ColorRange.MPEG

    def prepare(frame: VideoFrame) -> VideoFrame:
        # Grey 190 of 255 where white is 203 cd/m2 (ITU-R BT.2408), as PQ; then no colour.
        luma, chroma = np.full((48, 64), 510, "u2"), np.full((24, 64), 512, "u2")
        return VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p10le")

    path = make_video(
        tmp_path / "v.mkv", count=1, codec="ffv1", pix_fmt="yuv420p10le", setup=setup,
        prepare=prepare,
    )  # fmt: skip

    assert np.abs(read(path, 1).astype(int) - 190).max() <= 3


BT2020 = 9
PQ = 16


@pytest.mark.parametrize("size", [(63, 47), (101, 64), (1, 1)])
def test_odd_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    """Not every source is of even width and height."""
    path = make_video(
        tmp_path / "v.mkv", count=5, size=size, codec="ffv1", pix_fmt="bgr0",
        prepare=lambda frame: frame.reformat(format="bgr0"),
    )  # fmt: skip

    assert probe(path).size == Size(*size)
    assert colours(read(path, 5)) == [0, 1, 2, 3, 4]


def moving_bar(index: int, width: int, height: int) -> Any:
    """A bar that has moved on by the time that the odd lines are of."""
    pixels = np.full((height, width, 3), 40, dtype=np.uint8)
    for field in (0, 1):
        at = 8 + 16 * index + 8 * field
        pixels[field::2, at : at + 12] = 220
    return pixels


def test_interlaced_pictures_are_made_whole(tmp_path: Path) -> None:
    """No comb where something moves: lines look like their neighbours."""

    def setup(stream: Any) -> None:
        stream.options = {"x264-params": "tff=1:crf=5"}

    path = make_video(tmp_path / "v.mkv", count=6, size=(128, 64), picture=moving_bar, setup=setup)

    frames = read(path, 6, size=Size(128, 64)).astype(int)

    def comb(picture: Any) -> float:
        return float(np.abs(picture[1:-1] - (picture[:-2] + picture[2:]) / 2).mean())

    assert len(frames) == 6
    combed = np.mean([comb(moving_bar(index, 128, 64).astype(int)) for index in range(6)])
    assert np.mean([comb(frame) for frame in frames]) < combed / 4


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [
        ("prores_ks", "yuva444p10le", "a.mov"),
        ("ffv1", "yuva420p", "a.mkv"),
        ("png", "rgba", "a.mov"),
    ],
)
def test_transparent_video_is_shown_on_black(
    tmp_path: Path, codec: str, pix_fmt: str, name: str
) -> None:
    """Half of it is a colour, half of it is seen through."""

    def prepare(_: VideoFrame) -> VideoFrame:
        rgba = np.full((48, 64, 4), (200, 40, 40, 255), dtype=np.uint8)
        rgba[:, 32:, 3] = 0
        return VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pix_fmt)

    def setup(stream: Any) -> None:
        stream.options = {"profile": "4444"} if codec == "prores_ks" else {}

    path = make_video(
        tmp_path / name, count=2, codec=codec, pix_fmt=pix_fmt, prepare=prepare, setup=setup
    )
    frames = read(path, 2).astype(int)

    assert np.abs(frames[:, 4:-4, 4:28] - (200, 40, 40)).max() <= 6
    assert frames[:, 4:-4, 36:60].max() <= 2


def test_titles_in_old_encodings_do_not_matter(tmp_path: Path) -> None:
    """Cameras and editors wrote them in whatever their system used."""
    path = tmp_path / "v.avi"
    with av.open(path, "w") as container:
        container.metadata["title"] = "Cafe"
        stream: Any = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = VideoFrame.from_ndarray(plain(0, 64, 48), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"Cafe", b"Caf\xe9"))

    assert probe(path).size == SMALL


def test_one_frame_is_a_video(file: Path) -> None:
    """It is shown for its own length."""
    make_video(file, count=1)

    assert colours(read(file, 9)) == [0]


def test_sound_does_not_get_in_the_way(file: Path) -> None:
    """The picture's length is the picture's."""
    make_video(file, count=10, sound=True)

    assert probe(file).duration_s == pytest.approx(0.4)


def refused(path: Path, error: type[JobError] = UnsupportedVideoError) -> str:
    with pytest.raises(error) as caught:
        probe(path)
    assert caught.value.field == "video_url"
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just some words\nand more\n", "text"),
        (b"<!doctype html><html><body>404</body></html>", "web page"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n", "playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "playlist"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "session description"),
        (b"PK\x03\x04" + b"\0" * 100, "zip"),
        (b"\x00\x00\x00\x18ftypmp42" + b"\0" * 200, "cannot be read"),
        (bytes(range(256)) * 8, "cannot be read"),
    ],
    ids=["empty", "text", "page", "HLS", "concat", "SDP", "zip", "head alone", "garbage"],
)
def test_what_is_no_video_is_refused_with_the_reason(
    file: Path, content: bytes, reason: str
) -> None:
    """Each in a sentence that names the field and what would work."""
    file.write_bytes(content)

    sentence = refused(file)

    assert reason in sentence
    assert "MP4" in sentence


def test_a_truncated_file_is_refused(file: Path) -> None:
    """Without its index, which comes last, nothing of it can be shown."""
    make_video(file, count=50)
    file.write_bytes(file.read_bytes()[:-600])

    assert "cannot be read" in refused(file)


def test_a_truncated_stream_is_read_as_far_as_it_goes(file: Path) -> None:
    """With the index in front, the frames that arrived are frames."""
    make_video(file, count=60, picture=noise, options={"movflags": "+faststart"})
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 2 // 3])

    assert 0 < len(read(file, 60)) < 60


def test_a_codec_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    """The decoders that can be reached from outside are few."""
    path = make_video(
        tmp_path / "a.mov", codec="qtrle", pix_fmt="rgb24", prepare=lambda frame: frame
    )

    assert "codec" in refused(path)


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    """By the same sentence."""
    path = make_video(tmp_path / "a.avi", codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"\x01ZZ\x02"))

    assert "codec" in refused(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.webm", "a.ts"])
def test_damage_in_the_middle_does_not_end_a_clip(tmp_path: Path, name: str) -> None:
    """As players do, frames that cannot be read are passed over, and the clip keeps its length."""
    codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
    path = make_video(tmp_path / name, count=60, codec=codec, picture=noise)
    data = bytearray(path.read_bytes())
    for at in range(5000, len(data) - 5000, 999):
        data[at : at + 4] = b"\x55\xaa\x55\xaa"
    path.write_bytes(data)

    assert len(read(path, 60)) >= 58


def test_a_video_without_frames_is_too_short(tmp_path: Path) -> None:
    """Everything about it is right, only there is nothing to see."""
    path = tmp_path / "a.avi"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()

    assert "no frame" in refused(path, VideoTooShortError)


def noise(index: int, width: int, height: int) -> Any:
    rng = np.random.default_rng(index)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    """By what it lacks."""
    path = tmp_path / "a.mp4"
    with av.open(path, "w") as container:
        write_tone(container, add_sound(container))

    assert "no video stream" in refused(path)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    """Music with cover art has a video stream of one still."""
    path = tmp_path / "a.m4a"
    with av.open(path, "w", format="mp4") as container:
        stream: Any = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        tone = add_sound(container)
        frame = VideoFrame.from_ndarray(plain(0, 64, 48), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        write_tone(container, tone)
    with av.open(path) as container:
        assert len(container.streams.video) == 1

    assert "no video stream" in refused(path)


@pytest.mark.parametrize("size", [(16000, 16000), (9000, 64)])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """A small file can claim a picture of a gigabyte."""
    path = make_claiming(tmp_path / "v.avi", size)

    assert path.stat().st_size < 20_000
    assert f"{size[0]}x{size[1]}" in refused(path, VideoTooLargeError)


def test_a_huge_real_picture_is_refused(tmp_path: Path) -> None:
    """By both limits, with the limit in the sentence."""
    path = tmp_path / "v.mp4"
    make_video(path, count=1, size=(8256, 64))

    assert "8192" in refused(path, VideoTooLargeError)


def test_an_interrupted_read_ends_its_child(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left running, and nothing waits for its deadline."""
    make_video(file)
    children: list[subprocess.Popen[bytes]] = []
    start = sandbox._start

    def started(*given: Any) -> subprocess.Popen[bytes]:
        children.append(start(*given))
        return children[-1]

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    hanging = file.with_name("hang.py")
    hanging.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(sandbox, "CHILD", hanging)
    monkeypatch.setattr(sandbox, "_start", started)
    monkeypatch.setattr(sandbox, "_fill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probe(file)

    assert children[0].returncode == -signal.SIGKILL


def test_a_child_that_hangs_is_ended(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job does not wait for ever on a file made to be slow."""
    make_video(file)
    hanging = file.with_name("hang.py")
    hanging.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(sandbox, "CHILD", hanging)
    monkeypatch.setitem(sandbox.DEADLINES_S, "probe", 0.3)

    assert "seconds" in refused(file)


def test_a_child_that_crashes_is_no_crash_of_ours(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder's bug takes the child, and the job gets a sentence."""
    make_video(file)
    crashing = file.with_name("crash.py")
    crashing.write_text("import os; os.abort()")
    monkeypatch.setattr(sandbox, "CHILD", crashing)

    assert "failed" in refused(file)

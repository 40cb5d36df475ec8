"""Source videos of every kind, each made on the spot, with what must be read from it.

`CASES` is the table: docs/reference/inputs.md is written from it and test_corpus.py checks it.
Every picture has its number in black and white blocks along its top and a colour in each quarter
below, so that a wrong frame, a wrong side up and a wrong colour all show. Colours are computed here
from the equations of ITU-R BT.601, 709, 2020, 2100 and 2408, not by the library that is tested.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from rotoscope.errors import (
    JobError,
    UnsupportedVideoError,
    VideoTooLargeError,
    VideoTooShortError,
)
from tests.media.conftest import make_claiming, make_video

Array = np.ndarray[Any, Any]
Make = Callable[[Path], object]

BITS = 12
DARK, LIGHT = (30, 30, 30), (220, 220, 220)
QUARTERS = ((200, 60, 50), (60, 190, 70), (50, 70, 200), (190, 180, 60))
WIDTH, HEIGHT = 96, 64
RATE = Fraction(25)
COUNT = 6
# Mean error of a block, of 255: codecs at their usual quality, and eight bits rounded twice.
TOLERANCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file and what is read from it; with `refused`, the error it must give instead."""

    group: str
    name: str
    make: Make
    suffix: str = ".mp4"
    size: tuple[int, int] = (WIDTH, HEIGHT)
    fps: Fraction = RATE
    """What the probe says; `read_at` is the rate to decode at, where it is another."""
    read_at: Fraction | None = None
    shown: tuple[int, ...] = tuple(range(COUNT))
    """The pictures' numbers, at `read_at`."""
    duration_s: float | None = None
    turn: Callable[[Array], Array] = field(default=lambda picture_HWC: picture_HWC)
    tolerance: int = TOLERANCE
    refused: type[JobError] | None = None
    reason: str = ""


def marked(index: int, width: int, height: int) -> Array:
    """The picture with that number, height x width x 3."""
    labels_HW = blocks(width, height)
    bits = [LIGHT if index >> (BITS - 1 - bit) & 1 else DARK for bit in range(BITS)]
    return np.array([*bits, *QUARTERS], np.uint8)[labels_HW]


def blocks(width: int, height: int) -> Array:
    """Which block each pixel is of: 0 to 11 along the top third, 12 to 15 below."""
    top = height // 3
    rows, columns = np.mgrid[:height, :width]
    below = BITS + 2 * (rows >= top + (height - top) // 2) + (columns >= width // 2)
    return np.where(rows < top, columns * BITS // width, below)


def inner_blocks(width: int, height: int) -> Array:
    """The same, and -1 near the blocks' edges, where codecs mix colours."""
    labels_HW = blocks(width, height)
    reach_y, reach_x = max(1, height // 16), max(1, width // 48)
    mixed = np.zeros_like(labels_HW, bool)
    for axis, reach in ((0, reach_y), (1, reach_x)):
        for step in (-reach, reach):
            mixed |= np.roll(labels_HW, step, axis) != labels_HW
    return np.where(mixed, -1, labels_HW)


def worst_error(frame_HWC: Array, index: int, turn: Callable[[Array], Array]) -> float:
    """How far the worst block's mean is from picture `index`, of 255."""
    height, width = turn(np.empty(frame_HWC.shape[:2])).shape
    labels_HW, wanted_HWC = turn(inner_blocks(width, height)), turn(marked(index, width, height))
    return max(
        float(np.abs(frame_HWC[at].mean(0) - wanted_HWC[at].mean(0)).max())
        for label in range(BITS + len(QUARTERS))
        for at in [labels_HW == label]
    )


# Colours -------------------------------------------------------------------------------------

BT601, BT709, BT2020 = 5, 1, 9
SDR, PQ, HLG = 1, 16, 18
KR_KB = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), BT2020: (0.2627, 0.0593)}
WHITE_NITS = 203
DISPLAY_GAMMA = 2.4
# BT.2087: linear light of BT.709 in BT.2020's primaries.
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


@dataclass(frozen=True, slots=True)
class Colours:
    """How a picture's colours are written, and whether the file says so."""

    matrix: int = BT709
    transfer: int = SDR
    full: bool = False
    tagged: bool = True

    @property
    def primaries(self) -> int:
        return {BT601: 6, BT709: 1, BT2020: 9}[self.matrix]

    def tag(self, stream: Any) -> None:
        if not self.tagged:
            return
        context = stream.codec_context
        context.colorspace, context.color_trc = self.matrix, self.transfer
        context.color_primaries, context.color_range = self.primaries, 2 if self.full else 1

    def frame(self, frame: VideoFrame, pix_fmt: str) -> VideoFrame:
        """The RGB frame's picture, computed here, in a planar YUV format."""
        made = VideoFrame(frame.width, frame.height, pix_fmt)
        depth = made.format.components[0].bits
        signal_HWC = self.signal(frame.to_ndarray() / 255)
        for plane, values_HW in zip(made.planes, self.planes(signal_HWC, depth, made), strict=True):
            fill(plane, values_HW, depth)
        if self.tagged:
            made.colorspace, made.color_range = self.matrix, 2 if self.full else 1
        return made

    def signal(self, rgb_HWC: Array) -> Array:
        """What an SDR screen shows as `rgb_HWC`, in this transfer and these primaries."""
        if self.matrix != BT2020:
            return rgb_HWC
        light_HWC = rgb_HWC**DISPLAY_GAMMA @ TO_2020.T
        if self.transfer == SDR:
            return light_HWC ** (1 / DISPLAY_GAMMA)
        nits_HWC = light_HWC * WHITE_NITS
        return pq(nits_HWC) if self.transfer == PQ else hlg(nits_HWC)

    def planes(self, signal_HWC: Array, depth: int, made: VideoFrame) -> Iterable[Array]:
        kr, kb = KR_KB[self.matrix]
        red, blue = signal_HWC[..., 0], signal_HWC[..., 2]
        luma_HW = kr * red + (1 - kr - kb) * signal_HWC[..., 1] + kb * blue
        yield self.levels(luma_HW, depth, chroma=False)
        for colour_HW, weight in ((blue, kb), (red, kr)):
            chroma_HW = (colour_HW - luma_HW) / (2 * (1 - weight))
            small_HW = shrunk(chroma_HW, made.planes[1].width, made.planes[1].height)
            yield self.levels(small_HW, depth, chroma=True)

    def levels(self, values_HW: Array, depth: int, *, chroma: bool) -> Array:
        unit = 2 ** (depth - 8)
        scale = 2**depth - 1 if self.full else (224 if chroma else 219) * unit
        zero = 128 * unit if chroma else 0 if self.full else 16 * unit
        return np.clip(np.round(values_HW * scale + zero), 0, 2**depth - 1)


def pq(nits_HWC: Array) -> Array:
    """SMPTE ST 2084."""
    power_HWC = (np.clip(nits_HWC, 0, None) / 10_000) ** (2610 / 16384)
    top = 3424 / 4096 + 2413 / 128 * power_HWC
    return np.asarray((top / (1 + 2392 / 128 * power_HWC)) ** (2523 / 32))


def hlg(nits_HWC: Array) -> Array:
    """BT.2100's inverse display function for 1000 cd/m2, then its transfer function."""
    display_HWC = np.clip(nits_HWC, 0, None) / 1000
    luminance_HW1 = display_HWC @ np.array([[0.2627], [0.6780], [0.0593]])
    scene_HWC = display_HWC * luminance_HW1 ** ((1 - 1.2) / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    high_HWC = a * np.log(np.maximum(12 * scene_HWC - b, 1e-9)) + c
    return np.where(scene_HWC <= 1 / 12, np.sqrt(3 * scene_HWC), high_HWC)


def shrunk(values_HW: Array, width: int, height: int) -> Array:
    """Means of neighbours, down to a chroma plane's size."""
    for axis, count in ((0, height), (1, width)):
        step = -(-values_HW.shape[axis] // count)
        missing = count * step - values_HW.shape[axis]
        padding = [(0, missing if axis == one else 0) for one in (0, 1)]
        padded_HW = np.pad(values_HW, padding, mode="edge")
        values_HW = np.add.reduceat(padded_HW, np.arange(0, count * step, step), axis) / step
    return values_HW


def fill(plane: Any, values_HW: Array, depth: int) -> None:
    kind = np.dtype("<u2" if depth > 8 else "u1")
    line = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
    line[:, : plane.width] = values_HW
    plane.update(line.tobytes())


# Makers --------------------------------------------------------------------------------------


def clip(
    path: Path,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    colours: Colours = Colours(),
    settings: dict[str, str] | None = None,
    setup: Callable[[Any], None] = lambda _: None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    **more: Any,
) -> None:
    """A clip of marked pictures, in these colours."""

    def set_up(stream: Any) -> None:
        stream.options = {**QUIET.get(codec, {}), **(settings or {})}
        colours.tag(stream)
        setup(stream)

    more = {"count": COUNT, "rate": RATE, **more}
    prepare = partial(colours.frame, pix_fmt=pix_fmt)
    make_video(
        path, codec=codec, pix_fmt=pix_fmt, picture=marked, prepare=prepare, setup=set_up,
        size=size, **more,
    )  # fmt: skip


QUIET = {
    "libx265": {"x265-params": "log-level=none", "preset": "ultrafast", "crf": "10"},
    "libsvtav1": {"preset": "12"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def movie(path: Path, *parts: "Part") -> None:
    """A file of several streams, each by its part: first all are added, then all are written."""
    with av.open(path, "w") as container:
        writers = [part(container) for part in parts]
        for write in writers:
            write()


Part = Callable[[Any], Callable[[], None]]


def pictures(
    count: int = COUNT,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    first: int = 0,
    disposition: str = "default",
) -> Part:
    """A stream of marked pictures, numbered from `first`."""

    def add(container: Any) -> Callable[[], None]:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.disposition = av.stream.Disposition[disposition]
        colours = Colours(full=pix_fmt.startswith("yuvj"), matrix=BT601)
        colours.tag(stream)

        def write() -> None:
            for index in range(count):
                rgb = VideoFrame.from_ndarray(marked(first + index, *size), format="rgb24")
                frame = colours.frame(rgb, pix_fmt)
                frame.pts, frame.time_base = index, 1 / RATE
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

        return write

    return add


def sound(layout: str, seconds: float, codec: str = "aac") -> Part:
    """A quiet hum on every channel."""

    def add(container: Any) -> Callable[[], None]:
        stream = container.add_stream(codec, rate=48000)
        stream.layout = layout

        def write() -> None:
            kind = stream.format.name
            one_S = np.sin(np.arange(int(48000 * seconds)) / 60) / 10
            samples = np.tile(one_S, (stream.layout.nb_channels, 1))
            if kind == "s16":
                samples = (samples * 32767).astype(np.int16).T.reshape(1, -1)
            else:
                samples = samples.astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

        return write

    return add


def notes(container: Any) -> Callable[[], None]:
    """A stream of data, as cameras write positions and editors write time codes."""
    stream = container.add_data_stream("bin_data")

    def write() -> None:
        packet = av.Packet(b"\x00\x01 somewhere")
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1000)
        container.mux(packet)

    return write


def animation(path: Path, kind: str, *, tick_ms: int = 40, **options: Any) -> None:
    """By Pillow, whose palettes are exact."""
    shown = [Image.fromarray(marked(index, WIDTH, HEIGHT)) for index in range(COUNT)]
    shown[0].save(
        path, kind, save_all=True, append_images=shown[1:], duration=tick_ms, loop=0, **options
    )


def see_through(path: Path, kind: str, **options: Any) -> None:
    """Marked pictures whose dark blocks are transparent white."""
    shown = []
    for index in range(COUNT):
        rgb_HWC = marked(index, WIDTH, HEIGHT)
        dark_HW = (rgb_HWC == DARK).all(-1)
        rgba_HWC = np.dstack([rgb_HWC, np.where(dark_HW, 0, 255).astype(np.uint8)])
        rgba_HWC[dark_HW, :3] = 255
        shown.append(Image.fromarray(rgba_HWC))
    shown[0].save(
        path, kind, save_all=True, append_images=shown[1:], duration=40, loop=0, **options
    )


ONE = 1 << 16
TURNS: dict[str, tuple[tuple[int, int, int, int], Callable[[Array], Array]]] = {
    "turned by 90 degrees": ((0, ONE, -ONE, 0), lambda p: np.rot90(p, -1)),
    "turned by 180 degrees": ((-ONE, 0, 0, -ONE), lambda p: np.rot90(p, 2)),
    "turned by 270 degrees": ((0, -ONE, ONE, 0), lambda p: np.rot90(p, 1)),
    "mirrored left to right": ((-ONE, 0, 0, ONE), lambda p: p[:, ::-1]),
    "mirrored upside down": ((ONE, 0, 0, -ONE), lambda p: p[::-1]),
    "mirrored and turned by 90 degrees": (
        (0, -ONE, -ONE, 0), lambda p: p[::-1, ::-1].swapaxes(0, 1)
    ),
    "mirrored and turned by 270 degrees": ((0, ONE, ONE, 0), lambda p: p.swapaxes(0, 1)),
}  # fmt: skip


def turned(path: Path, how: str, **more: Any) -> None:
    """An mp4 whose display matrix turns it, as phones write it."""
    clip(path, **more)
    a, b, c, d = TURNS[how][0]
    patch(path, b"tkhd", 40, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))


def patch(path: Path, box: bytes, at: int, content: bytes) -> None:
    """Overwrite part of the first such box of an mp4, `at` bytes after its name."""
    data = bytearray(path.read_bytes())
    start = data.index(box) + len(box) + at
    data[start : start + len(content)] = content
    path.write_bytes(data)


def edited(path: Path, start_ticks: int, length_ticks: int) -> None:
    """An mp4 whose edit list shows only part of it; of 1000 ticks a second."""
    times = [index * 40 for index in range(COUNT)]
    clip(path, times=times, rate=1000, setup=one_reference, settings={"g": "1"})
    patch(path, b"elst", 8, struct.pack(">Ii", length_ticks, start_ticks * 16))


def one_reference(stream: Any) -> None:
    stream.codec_context.max_b_frames = 0


def squeezed(aspect: Fraction) -> Callable[[Any], None]:
    def setup(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    return setup


def cut_off(path: Path, keep: int, **more: Any) -> None:
    """An mp4 that ends with its picture number `keep`, which is missing."""
    clip(path, setup=one_reference, **more)
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        end = packets[keep].pos
    path.write_bytes(path.read_bytes()[:end])


def still_image(path: Path, kind: str) -> None:
    Image.fromarray(marked(0, WIDTH, HEIGHT)).save(path, kind)


def dark_as_black(picture_HWC: Array) -> Array:
    return np.where(picture_HWC == DARK[0], 0, picture_HWC)


def no_pictures(path: Path) -> None:
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.start_encoding()


# The table ------------------------------------------------------------------------------------


def codecs() -> Iterable[Case]:
    group = "Codecs and kinds of pixels"
    for codec, kinds in (
        ("libx264", "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le"),
        ("libx265", "yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv420p12le yuv444p12le"),
    ):
        for kind in kinds.split():
            make = partial(clip, codec=codec, pix_fmt=kind)
            called = {"libx264": "H.264", "libx265": "HEVC"}[codec]
            yield Case(group=group, name=f"{called} {kind}", make=make)
    small = {"colours": Colours(BT601)}
    for name, suffix, more in (
        ("VP8", ".webm", {"codec": "libvpx", **small}),
        ("VP9 yuv420p", ".webm", {"codec": "libvpx-vp9"}),
        ("VP9 yuv422p", ".webm", {"codec": "libvpx-vp9", "pix_fmt": "yuv422p"}),
        ("VP9 yuv444p", ".webm", {"codec": "libvpx-vp9", "pix_fmt": "yuv444p"}),
        ("AV1 yuv420p", ".mp4", {"codec": "libsvtav1"}),
        ("AV1 yuv420p10le", ".webm", {"codec": "libsvtav1", "pix_fmt": "yuv420p10le"}),
        ("ProRes 422", ".mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
        ("ProRes 4444", ".mov", {"codec": "prores_ks", "pix_fmt": "yuv444p10le"}),
        ("MPEG-2", ".mpg", {"codec": "mpeg2video"}),
        ("MPEG-4 part 2", ".avi", {"codec": "mpeg4", **small}),
        ("WMV 8", ".wmv", {"codec": "wmv2", **small}),
        ("Sorenson H.263", ".flv", {"codec": "flv", **small}),
        ("FFV1 yuv422p16le", ".mkv", {"codec": "ffv1", "pix_fmt": "yuv422p16le"}),
    ):
        yield Case(group=group, name=name, suffix=suffix, make=partial(clip, **more))
    for kind in ("yuvj420p", "yuvj422p", "yuvj444p"):
        jpeg = partial(clip, codec="mjpeg", pix_fmt=kind, colours=Colours(BT601, full=True))
        yield Case(group=group, name=f"MJPEG {kind}", suffix=".avi", make=jpeg)
    yield Case(
        group=group, name="DNxHR", suffix=".mov", size=(256, 120),
        make=partial(
            clip, codec="dnxhd", pix_fmt="yuv422p10le", size=(256, 120),
            settings={"profile": "dnxhr_hqx"},
        ),
    )  # fmt: skip
    yield Case(group=group, name="GIF", suffix=".gif", make=partial(animation, kind="GIF"))
    for name, options in (("lossless", {"lossless": True}), ("lossy", {"quality": 90})):
        make = partial(animation, kind="WEBP", **options)
        yield Case(group=group, name=f"animated WebP, {name}", suffix=".webp", make=make)
    for kind, more in (("GIF", {"disposal": 2}), ("WEBP", {"lossless": True})):
        yield Case(
            group=group, name=f"{kind} with transparency, shown on black", turn=dark_as_black,
            suffix=f".{kind.lower()}", make=partial(see_through, kind=kind, **more),
        )  # fmt: skip


def colours() -> Iterable[Case]:
    group = "Colours"
    names = {BT601: "BT.601", BT709: "BT.709", BT2020: "BT.2020"}
    for matrix, name in names.items():
        for full in (False, True):
            made = Colours(matrix, full=full)
            yield Case(
                group=group, name=f"{name}, {'full' if full else 'limited'} range",
                make=partial(clip, pix_fmt="yuv444p10le", colours=made),
            )  # fmt: skip
    for transfer, name in ((PQ, "PQ"), (HLG, "HLG")):
        made = Colours(BT2020, transfer)
        yield Case(
            group=group, name=f"BT.2020 with {name}, 10 bits, HEVC",
            make=partial(clip, codec="libx265", pix_fmt="yuv420p10le", colours=made),
        )  # fmt: skip
    for height, matrix in ((480, BT601), (720, BT709)):
        size = (128, height)
        made = Colours(matrix, tagged=False)
        yield Case(
            group=group, name=f"untagged, {height} lines: taken as {names[matrix]}", size=size,
            make=partial(clip, colours=made, size=size),
        )  # fmt: skip
    size = (128, 720)
    yield Case(
        group=group, name="720 lines that say BT.601", size=size,
        make=partial(clip, colours=Colours(BT601), size=size),
    )  # fmt: skip


def shapes() -> Iterable[Case]:
    group = "Which way up, and of what shape"
    for how, (_, turn) in TURNS.items():
        size = (HEIGHT, WIDTH) if "90" in how or "270" in how else (WIDTH, HEIGHT)
        make = partial(turned, how=how)
        yield Case(group=group, name=how, make=make, turn=turn, size=size)
    wide = squeezed(Fraction(3, 2))
    yield Case(
        group=group, name="pixels 3:2, wider than high", size=(144, 64),
        make=partial(clip, setup=wide),
    )  # fmt: skip
    yield Case(
        group=group, name="pixels 2:3, higher than wide", size=(64, 64),
        make=partial(clip, setup=squeezed(Fraction(2, 3))),
    )  # fmt: skip
    quarter = "turned by 90 degrees"
    yield Case(
        group=group, name="pixels 3:2, turned by 90 degrees", size=(64, 144),
        turn=TURNS[quarter][1], make=partial(turned, how=quarter, setup=wide),
    )  # fmt: skip
    odd = (97, 65)
    for coded, more, suffix in (
        ("H.264 yuv444p", {"pix_fmt": "yuv444p"}, ".mp4"),
        ("VP9 yuv420p", {"codec": "libvpx-vp9"}, ".webm"),
        ("FFV1 yuv420p", {"codec": "ffv1"}, ".mkv"),
    ):
        make = partial(clip, size=odd, **more)
        name = f"odd width and height, {coded}"
        yield Case(group=group, name=name, make=make, size=odd, suffix=suffix)


def times() -> Iterable[Case]:
    group = "Time"
    for rate in (Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001), Fraction(1)):
        for suffix in (".mp4", ".mkv"):
            name = f"{float(rate):.5g} frames a second, {suffix[1:]}"
            make = partial(clip, rate=rate)
            yield Case(group=group, name=name, make=make, fps=rate, suffix=suffix)
    yield Case(
        group=group, name="variable rate: each picture for as long as it says",
        make=partial(clip, times=[0, 40, 80, 200, 240, 400], rate=1000, setup=one_reference),
        shown=(0, 1, 2, 2, 2, 3, 4, 4, 4, 4, 5), read_at=RATE, duration_s=0.401,
        fps=Fraction(6000, 401),
    )  # fmt: skip
    yield Case(
        group=group, name="edit list that cuts off the start", shown=(1, 2, 3, 4, 5),
        make=partial(edited, start_ticks=40, length_ticks=1000), duration_s=0.2,
    )  # fmt: skip
    yield Case(
        group=group, name="edit list that cuts off start and end", shown=(2, 3, 4),
        make=partial(edited, start_ticks=80, length_ticks=120), duration_s=0.12,
    )  # fmt: skip
    late = [400 + 40 * index for index in range(COUNT)]
    yield Case(
        group=group, name="edit list that starts late", fps=RATE,
        make=partial(clip, times=late, rate=1000),
    )  # fmt: skip
    yield Case(
        group=group, name="pictures before time 0, cut off by the edit list", shown=(2, 3, 4, 5),
        make=partial(clip, times=[-80, -40, 0, 40, 80, 120], rate=1000, setup=one_reference),
        read_at=RATE, duration_s=0.121, fps=Fraction(4000, 121),
    )  # fmt: skip
    reordered: dict[str, Any] = {"settings": {"bf": "3", "b-pyramid": "normal"}, "count": 12}
    for name, suffix, more in (
        ("mp4, by an edit list", ".mp4", {}),
        ("mp4, by negative timestamps", ".mp4", {"options": {"use_editlist": "0"}}),
        ("mkv", ".mkv", {}),
        ("ts", ".ts", {}),
        ("avi, which has no presentation times", ".avi", {}),
    ):
        yield Case(
            group=group, name=f"B-frames in {name}", suffix=suffix, shown=tuple(range(12)),
            make=partial(clip, **reordered, **more),
        )  # fmt: skip
    yield Case(group=group, name="one picture", make=partial(clip, count=1), shown=(0,))
    yield Case(
        group=group, name="60 seconds", fps=Fraction(5), shown=tuple(range(300)),
        make=partial(clip, count=300, rate=5, settings={"preset": "ultrafast"}),
    )  # fmt: skip


def containers() -> Iterable[Case]:
    group = "Containers"
    fragmented = "frag_keyframe+empty_moov+default_base_moof"
    for name, suffix, more in (
        ("mp4, index at the end", ".mp4", {}),
        ("mp4, index in front", ".mp4", {"options": {"movflags": "faststart"}}),
        ("mp4, fragmented", ".mp4", {"options": {"movflags": fragmented}, "settings": {"g": "2"}}),
        ("mov", ".mov", {}),
        ("mkv", ".mkv", {}),
        ("webm of a live recording, without a length", ".webm",
         {"codec": "libvpx-vp9", "options": {"live": "1"}}),
        ("mpeg transport stream", ".ts", {}),
        ("avi", ".avi", {}),
        ("flv", ".flv", {}),
        ("ogv", ".ogv", {"codec": "libvpx", "colours": Colours(BT601)}),
    ):  # fmt: skip
        yield Case(group=group, name=name, suffix=suffix, make=partial(clip, **more))
    yield Case(
        group=group, name="mp4 whose end is missing, index in front", shown=(0, 1, 2, 3),
        make=partial(cut_off, keep=4, options={"movflags": "faststart"}),
    )  # fmt: skip


def streams() -> Iterable[Case]:
    group = "Sound and other streams"
    film = pictures()
    still = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "first": 99}
    for name, suffix, parts in (
        ("mono, as long", ".mp4", (film, sound("mono", 0.24))),
        ("stereo, longer", ".mov", (film, sound("stereo", 2, "pcm_s16le"))),
        ("5.1, shorter", ".mp4", (sound("5.1", 0.1), film)),
        ("two sound streams, Opus", ".mkv",
         (sound("mono", 0.2, "libopus"), film, sound("stereo", 0.4, "libopus"))),
        ("a stream of data", ".ts", (film, notes)),
        ("a cover picture before it", ".mp4",
         (pictures(1, **still, disposition="attached_pic"), film)),
        ("a thumbnail before it, mp4", ".mp4", (pictures(1, **still), film)),
        ("a large still before it, mkv", ".mkv", (pictures(1, **still, size=(192, 128)), film)),
        ("two films: the default one", ".mkv", (pictures(first=50, disposition="dub"), film)),
        ("two films, both default: the first", ".ts", (film, pictures(first=50))),
        ("a film that cannot be read before it", ".mkv", (pictures(codec="snow"), film)),
    ):  # fmt: skip
        yield Case(group=group, name=name, suffix=suffix, make=making(parts))


def making(parts: tuple[Part, ...]) -> Make:
    return lambda path: movie(path, *parts)


def refusals() -> Iterable[Case]:
    group = "Refused"
    for name, suffix, make, refused, reason in (
        ("sound alone", ".mp4", making((sound("mono", 0.2),)), UnsupportedVideoError,
         "no video stream"),
        ("sound with a cover picture", ".mp4",
         making((pictures(1, codec="mjpeg", pix_fmt="yuvj420p", disposition="attached_pic"),
                 sound("mono", 0.2))), UnsupportedVideoError, "no video stream"),
        ("mp4 whose end is missing, index and all", ".mp4", partial(cut_off, keep=4),
         UnsupportedVideoError, "cannot be read"),
        ("a codec that is not on the list", ".mkv", making((pictures(codec="snow"),)),
         UnsupportedVideoError, "codec"),
        ("a video without a picture", ".avi", no_pictures, VideoTooShortError, "no frame"),
        ("a still WebP", ".webp", partial(still_image, kind="WEBP"), UnsupportedVideoError,
         "still image"),
        ("a PNG", ".png", partial(still_image, kind="PNG"), UnsupportedVideoError, "still image"),
        ("9000 pixels wide", ".avi", partial(make_claiming, size=(9000, 64)), VideoTooLargeError,
         "9000x64"),
        ("256 million pixels", ".avi", partial(make_claiming, size=(16000, 16000)),
         VideoTooLargeError, "16000x16000"),
    ):  # fmt: skip
        yield Case(
            group=group, name=name, suffix=suffix, make=make, refused=refused, reason=reason,
            shown=(),
        )  # fmt: skip


CASES: tuple[Case, ...] = (
    *codecs(), *colours(), *shapes(), *times(), *containers(), *streams(), *refusals(),
)  # fmt: skip

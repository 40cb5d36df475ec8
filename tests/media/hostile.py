"""Files made to harm the one who opens them: what they want to reach is a canary's address or path.

Each maker gives the bytes of a file; AVI and MP4 are put together here, box by box.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.media.corpus import clip, marked


@dataclass(frozen=True, slots=True)
class Bait:
    """What must not be touched: a URL that counts visits, a path that notices being opened."""

    url: str
    path: Path


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + name + body


def chunk(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


FTYP = box(b"ftyp", b"qt  \0\0\0\0qt  ")


def playlist(bait: Bait) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{bait.url}/a.ts\n{bait.path}\n".encode()


def playlist_of_a_file(bait: Bait) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{bait.path}\n".encode()


def spaced_playlist(bait: Bait) -> bytes:
    return b"\xef\xbb\xbf\r\n \n" + playlist(bait)


def dressed_playlist(bait: Bait) -> bytes:
    return FTYP + b"\n" + playlist(bait)


def master_playlist(bait: Bait) -> bytes:
    return f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{bait.url}/a.m3u8\n".encode()


def concat_script(bait: Bait) -> bytes:
    return f"ffconcat version 1.0\nfile '{bait.path}'\n".encode()


def bare_concat_script(bait: Bait) -> bytes:
    return f"file '{bait.path}'\nfile '{bait.url}'\n".encode()


def dash(bait: Bait) -> bytes:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet '
        f'mimeType="video/mp4"><Representation><BaseURL>{bait.url}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    ).encode()


def session(bait: Bait) -> bytes:
    port = bait.url.rpartition(":")[2]
    lines = "v=0", "o=- 0 0 IN IP4 127.0.0.1", "c=IN IP4 127.0.0.1", f"m=video {port} RTP/AVP 96"
    return "\r\n".join([*lines, ""]).encode()


def svg(bait: Bait) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{bait.url}"/></svg>'.encode()


def reference_movie(bait: Bait) -> bytes:
    """QuickTime's pointer to the real film."""
    url = bait.url.encode() + b"\0"
    pointer = box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(url)), url)
    return FTYP + box(b"moov", box(b"rmra", box(b"rmda", pointer)))


def external_data(bait: Bait) -> bytes:
    """A film whose pictures are said to lie in another file: the path as a Macintosh alias."""
    path = str(bait.path).encode()
    return with_data_reference(alias(path))


def external_url(bait: Bait) -> bytes:
    return with_data_reference(box(b"url ", bytes(4), bait.url.encode() + b"\0"))


def alias(path: bytes) -> bytes:
    fixed = bytes(10) + b"\x01d" + bytes(38) + bytes([len(path[:63])]) + path[:63].ljust(63, b"\0")
    levels = bytes(16) + bytes(4) + bytes(16)
    tagged = struct.pack(">HH", 2, len(path)) + path + bytes(len(path) % 2)
    return box(b"alis", bytes(4), fixed, levels, tagged, struct.pack(">HH", 0xFFFF, 0))


def with_data_reference(entry: bytes) -> bytes:
    """A mov, its index last, whose data reference is `entry` instead of "this file"."""
    film = bytearray(a_film(".mov"))
    start = film.index(b"dref") - 4
    old = struct.unpack_from(">I", film, start)[0]
    new = box(b"dref", bytes(4), struct.pack(">I", 1), entry)
    film[start : start + old] = new
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        at = film.rindex(name, 0, start) - 4
        struct.pack_into(">I", film, at, struct.unpack_from(">I", film, at)[0] + len(new) - old)
    return bytes(film)


def a_film(suffix: str) -> bytes:
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - a path is all that PyAV writes to

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        clip(path)
        return path.read_bytes()


def subtitled_by_a_playlist(bait: Bait) -> bytes:
    return subtitled_avi(playlist(bait))


def subtitled_by_a_script(bait: Bait) -> bytes:
    return subtitled_avi(concat_script(bait))


def subtitled_avi(text: bytes) -> bytes:
    """Its subtitles are a file of their own inside, which FFmpeg opens by what it looks like."""
    inner = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"a\0" + struct.pack("<HI", 4, len(text)) + text
    return avi([picture_jpeg(96, 64)] * 3, (96, 64), subtitles=inner)


def picture_jpeg(width: int, height: int) -> bytes:
    out = io.BytesIO()
    small = Image.fromarray(marked(1, 96, 64))
    small.resize((width, height), Image.Resampling.NEAREST).save(out, "JPEG")
    return out.getvalue()


def avi(pictures: list[bytes], size: tuple[int, int], subtitles: bytes = b"") -> bytes:
    """Motion JPEG, and one packet of subtitles where there are any."""
    width, height = size
    count = len(pictures)
    head = chunk(
        b"avih", struct.pack("<14I", 40_000, 0, 0, 0, count, 0, 2, 0, width, height, 0, 0, 0, 0)
    )
    streams = stream_list(b"vids", b"MJPG", count, struct.pack(
        "<IiiHH4s5I", 40, width, height, 1, 24, b"MJPG", 0, 0, 0, 0, 0))  # fmt: skip
    packets = [chunk(b"00dc", picture) for picture in pictures]
    if subtitles:
        streams += stream_list(b"txts", bytes(4), 1, b"")
        packets.insert(0, chunk(b"01tx", subtitles))
    lists = chunk(b"LIST", b"hdrl", head, streams), chunk(b"LIST", b"movi", *packets)
    return chunk(b"RIFF", b"AVI ", *lists)


def stream_list(kind: bytes, codec: bytes, length: int, form: bytes) -> bytes:
    header = struct.pack(
        "<4s4sIHHIIIIIIII4H", kind, codec, 0, 0, 0, 0, 1, 25, 0, length, 0, 0, 0, 0, 0, 0, 0
    )
    return chunk(b"LIST", b"strl", chunk(b"strh", header), chunk(b"strf", form))


# They say one thing or lead nowhere; none of them is a video.
DISGUISES: tuple[Callable[[Bait], bytes], ...] = (
    playlist, playlist_of_a_file, spaced_playlist, dressed_playlist, master_playlist,
    concat_script, bare_concat_script, dash, session, svg, reference_movie,
)  # fmt: skip
# Videos that name something else beside their pictures.
POINTERS: tuple[Callable[[Bait], bytes], ...] = (
    external_data, external_url, subtitled_by_a_playlist, subtitled_by_a_script,
)  # fmt: skip


# Sizes and numbers ----------------------------------------------------------------------------


def huge_gif() -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + (
        b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\x00;"
    )  # fmt: skip


def huge_webp() -> bytes:
    side = (2**24 - 1).to_bytes(3, "little")
    canvas = chunk(b"VP8X", b"\x02\0\0\0", side, side)
    frame = chunk(
        b"ANMF", bytes(6), side, side, b"\x28\0\0\0", chunk(b"VP8L", b"\x2f" + b"\xff" * 8)
    )
    return chunk(b"RIFF", b"WEBP", canvas, chunk(b"ANIM", bytes(6)), frame)


def huge_mkv() -> bytes:
    """A few bytes, 2^31 pixels wide by what they say."""
    wide = element(0xB0, b"\x7f\xff\xff\xff") + element(0xBA, b"\x7f\xff\xff\xff")
    return mkv([track(1, element(0xE0, wide))])


def many_tracks(count: int) -> bytes:
    return mkv([track(number, b"") for number in range(1, count + 1)])


def mkv(tracks: list[bytes]) -> bytes:
    head = element(0x1A45DFA3, element(0x4282, b"matroska"))
    info = element(0x1549A966, element(0x2AD7B1, b"\x0f\x42\x40"))
    block = element(0xA3, b"\x81\0\0\x80" + bytes(20))
    cluster = element(0x1F43B675, element(0xE7, b"\0") + block)
    return head + element(0x18538067, info + element(0x1654AE6B, b"".join(tracks)) + cluster)


def track(number: int, more: bytes) -> bytes:
    numbers = element(0xD7, struct.pack(">I", number)) + element(0x73C5, struct.pack(">I", number))
    return element(0xAE, numbers + element(0x83, b"\x01") + element(0x86, b"V_VP9") + more)


def element(name: int, body: bytes) -> bytes:
    """Of EBML; its length in eight bytes."""
    return name.to_bytes((name.bit_length() + 7) // 8) + (len(body) | 1 << 56).to_bytes(8) + body


def many_traks(count: int) -> bytes:
    return FTYP + box(b"moov", box(b"trak") * count)


def many_lists(count: int) -> bytes:
    one = stream_list(b"vids", b"MJPG", 1, bytes(40))
    head = chunk(b"avih", bytes(56))
    return chunk(b"RIFF", b"AVI ", chunk(b"LIST", b"hdrl", head, one * count))


def noise(count: int) -> bytes:
    return np.random.default_rng(0).bytes(count)

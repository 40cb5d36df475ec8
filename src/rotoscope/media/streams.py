"""Which stream of a file is its film, and when each of its pictures is shown.

Imported by the child that opens untrusted video (decode_child.py).
"""

from collections import Counter, deque
from collections.abc import Collection
from contextlib import suppress
from itertools import islice
from typing import Any

import av
from av.video.frame import VideoFrame

from rotoscope.media.facts import UnreadableError

# FFmpeg's dispositions of streams that are no film: cover pictures, thumbnails, stills.
ATTACHED_PICTURE, THUMBNAILS, STILL = 0x400, 0x800, 0x100000
DEFAULT = 0x1
LOOKED_AT = 100
"""Packets by which a film is told from a still, where the header does not count its pictures."""


def shown_stream(container: Any, codecs: Collection[str]) -> Any:
    """The first film that can be read by `codecs`; the file's own choice before others.

    Raises:
        UnreadableError: There is none.
    """
    streams = container.streams.video
    films = [s for s in streams if not s.disposition.value & ATTACHED_PICTURE]
    if not films:
        raise UnreadableError("unsupported", "it has no video stream")
    listed = [s for s in films if s.codec_context is not None and s.codec_context.name in codecs]
    if not listed:
        raise UnreadableError("unsupported", "its codec is not read here")
    if len(listed) == 1:
        return listed[0]
    seen = pictures_seen(container)
    return min(listed, key=lambda s: (is_still(s, seen), not s.disposition.value & DEFAULT))


def pictures_seen(container: Any) -> Counter[int]:
    """Packets with content of each video stream, by its index, near the file's start."""
    with suppress(av.error.FFmpegError):
        packets = islice(
            container.demux(video=list(range(len(container.streams.video)))), LOOKED_AT
        )
        seen = Counter(packet.stream.index for packet in packets if packet.size)
        container.seek(0)
        return seen
    return Counter()


def is_still(stream: Any, seen: Counter[int]) -> bool:
    if stream.disposition.value & (THUMBNAILS | STILL):
        return True
    return bool(stream.frames == 1 or (stream.frames == 0 and seen[stream.index] == 1))


class Times:
    """Presentation times where the container has none: AVI knows only the order of decoding.

    FFmpeg makes them up, wrongly where frames are reordered. One picture comes from each packet, so
    the next one shown has the next packet's time.
    """

    def __init__(self, container: Any) -> None:
        self._missing = container.format.name == "avi"
        self._next: deque[int] = deque()

    def decoded(self, packet: Any) -> None:
        if self._missing and packet is not None and packet.dts is not None:
            self._next.append(packet.dts)

    def told(self, frame: VideoFrame) -> VideoFrame:
        """The same frame, with its time."""
        if self._next:
            frame.pts = self._next.popleft()
        return frame

"""Two clips in one file: moments of them in a picture, or both side by side in a video.

Needs the media libraries.
"""

import tempfile
from fractions import Fraction
from math import ceil
from pathlib import Path

from rotoscope.cli.request import is_local
from rotoscope.media.clip import Clip, Frames, Size, VideoInfo
from rotoscope.media.decode import decode, probe
from rotoscope.media.encode import encode
from rotoscope.media.fetch import FetchPolicy, fetch
from rotoscope.media.sheet import contact_sheet
from rotoscope.media.side_by_side import side_by_side
from rotoscope.settings import Settings

COLUMNS = 4
FRAME_WIDTH = 400
MAX_HEIGHT = 480
"""Of each half of a side-by-side video; both clips lie in memory at once."""

Labels = tuple[str, str]


def write_sheet(source: str, result: Path, into: Path, settings: Settings) -> Path:
    """Both clips at the same moments, at the result's shape."""
    with tempfile.TemporaryDirectory(prefix="rotoscope-sheet-") as folder:
        file = Path(source) if is_local(source) else _fetch(source, Path(folder), settings)
        info = probe(result)
        left, right = (_moments(clip, info.size, info.duration_s) for clip in (file, result))
        return contact_sheet(left, right, into=into, columns=COLUMNS, labels=("source", "result"))


def write_moments(first: Path, second: Path, into: Path, *, labels: Labels) -> Path:
    """A PNG with the same moments of both clips, up to where the shorter one ends."""
    infos = [probe(clip) for clip in (first, second)]
    duration_s = min(info.duration_s for info in infos)
    left, right = (
        _moments(clip, info.size, duration_s)
        for clip, info in zip((first, second), infos, strict=True)
    )
    return contact_sheet(left, right, into=into, columns=COLUMNS, labels=labels)


def write_side_by_side(first: Path, second: Path, into: Path, *, labels: Labels) -> Path:
    """An MP4 with both clips at the first one's rate; the shorter one stays at its last frame."""
    infos = [probe(clip) for clip in (first, second)]
    fps = infos[0].fps
    height = _even(min(MAX_HEIGHT, *(info.size.height for info in infos)))
    left, right = (
        decode(clip, frames=ceil(info.duration_s * fps), fps=fps, size=_scaled(info, height))
        for clip, info in zip((first, second), infos, strict=True)
    )
    both = Clip(side_by_side(left, right, labels=labels), fps)
    return encode(both, quality="high", into=into.parent, name=into.name).path


def _moments(clip: Path, shape: Size, duration_s: float) -> Frames:
    """A moment a column: frame k is shown at k / COLUMNS of the duration."""
    fps = Fraction(COLUMNS) / Fraction(duration_s).limit_denominator(1000)
    size = Size(FRAME_WIDTH, round(FRAME_WIDTH * shape.height / shape.width))
    return decode(clip, frames=COLUMNS, fps=fps, size=size)


def _scaled(info: VideoInfo, height: int) -> Size:
    return Size(_even(height * info.size.width / info.size.height), height)


def _even(pixels: float) -> int:
    """A video of this kind has even sides."""
    return max(2, 2 * round(pixels / 2))


def _fetch(uri: str, folder: Path, settings: Settings) -> Path:
    policy = FetchPolicy(
        private_hosts=settings.fetch_private_hosts,
        ca_file=settings.fetch_ca_file,
        timeout_s=settings.fetch_timeout_s,
    )
    return fetch(
        uri,
        into=folder,
        name="source",
        policy=policy,
        max_bytes=settings.max_video_bytes,
        field="video_url",
    )

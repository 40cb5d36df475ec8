"""The contact sheet of `run --sheet`: frames of the source above those of the result."""

import tempfile
from fractions import Fraction
from pathlib import Path

from rotoscope.cli.request import is_local
from rotoscope.media.clip import Size
from rotoscope.media.decode import decode, probe
from rotoscope.media.fetch import FetchPolicy, fetch
from rotoscope.media.sheet import contact_sheet
from rotoscope.settings import Settings

COLUMNS = 4
FRAME_WIDTH = 400


def write_sheet(source: str, result: Path, into: Path, settings: Settings) -> Path:
    """Both clips at the same moments, at the result's shape."""
    with tempfile.TemporaryDirectory(prefix="rotoscope-sheet-") as folder:
        file = Path(source) if is_local(source) else _fetch(source, Path(folder), settings)
        info = probe(result)
        # A moment a column: frame k is shown at k / COLUMNS of the result's duration.
        fps = Fraction(COLUMNS) / Fraction(info.duration_s).limit_denominator(1000)
        size = Size(FRAME_WIDTH, round(FRAME_WIDTH * info.size.height / info.size.width))
        left, right = (decode(clip, frames=COLUMNS, fps=fps, size=size) for clip in (file, result))
        return contact_sheet(left, right, into=into, columns=COLUMNS, labels=("source", "result"))


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

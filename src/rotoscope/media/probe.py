"""What an untrusted video is, found out by a child process; see sandbox.py."""

import json
from fractions import Fraction
from pathlib import Path

from rotoscope.media.facts import Size, VideoInfo
from rotoscope.media.sandbox import ask

ANSWER_BYTES = 4096


def probe(path: Path, *, field: str = "video_url") -> VideoInfo:
    """What the video at `path` is.

    Raises:
        UnsupportedVideoError: It is no video, or none that is read here.
        VideoTooLargeError: It has more pixels than are read.
        VideoTooShortError: No frame of it can be shown.
    """
    answer = bytearray(ANSWER_BYTES)
    facts = json.loads(answer[: ask(path, field, {"do": "probe"}, memoryview(answer))])
    return VideoInfo(
        size=Size(facts["width"], facts["height"]),
        fps=Fraction(*facts["fps"]),
        duration_s=facts["duration_s"],
        codec=facts["codec"],
    )

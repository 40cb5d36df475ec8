"""Some of the forged files; `python -m tests.media.fuzz --count 10000` makes the rest."""

from collections import Counter

from tests.media.fuzz import fuzz


def test_forged_files_are_read_or_refused() -> None:
    """Never worse: fuzz.py says what that is. Enough are read that decoders are reached."""
    said = Counter(outcome.said for outcome in fuzz(120))

    assert said.total() == 120
    assert said["read"] > 20
    assert said["unsupported_video_format"] > 20

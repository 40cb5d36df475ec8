"""compare, with results of a real server."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rotoscope.cli.compare import Side, differences
from rotoscope.cli.exits import Exit
from rotoscope.media.clip import Clip, Size
from rotoscope.media.decode import decode, probe
from rotoscope.media.encode import encode
from rotoscope.media.side_by_side import LABEL_HEIGHT
from rotoscope.schema.output import Manifest
from tests.cli.conftest import Rotoscope, Site
from tests.web.conftest import BODY, MANIFEST

RED, BLUE = (200, 30, 30), (30, 30, 200)
LORA = {"path": "o/n", "scale": 0.5, "sha256": "a" * 64, "rank": 4, "layers": 2}
WITHOUT_AV = "import sys; sys.modules['av'] = None; from rotoscope.cli import app; app()"


def make_video(folder: Path, colour: tuple[int, int, int], size: Size, frames: int) -> bytes:
    """A clip of one colour, 10 frames a second."""
    pixels = np.full((frames, size.height, size.width, 3), colour, dtype=np.uint8)
    folder.mkdir()
    return encode(Clip(pixels, Fraction(10)), quality="high", into=folder).path.read_bytes()


@pytest.fixture
def two(site: Site, tmp_path: Path) -> tuple[str, str]:
    """A red result of 128x64 and 4 frames, and a blue one of 64x64, 6 frames and another seed."""
    videos = [
        make_video(tmp_path / "a", RED, Size(128, 64), 4),
        make_video(tmp_path / "b", BLUE, Size(64, 64), 6),
    ]
    ids = []
    for seed, video in enumerate(videos):
        ids.append(site.submit())
        site.finish(site.claim(), video, seed=seed, loras=[LORA] * seed)
    return ids[0], ids[1]


def test_differing_parameters_are_printed(
    two: tuple[str, str], rotoscope: Rotoscope, tmp_path: Path
) -> None:
    """Of two ids, or of an id and a file with a /result answer or a manifest alone."""
    answer = json.loads(rotoscope("result", two[1], "--json").stdout)
    answer_file, manifest_file = tmp_path / "answer.json", tmp_path / "manifest.json"
    answer_file.write_text(json.dumps(answer))
    manifest_file.write_text(json.dumps(answer["manifest"]))

    shown = rotoscope("compare", *two)
    assert shown.exit_code == 0, shown.stderr
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert rows[:3] == [["A", "B"], ["seed", "0", "1"], ["loras.0.path", "o/n"]]
    for other in (two[1], str(answer_file), str(manifest_file)):
        told = json.loads(rotoscope("compare", two[0], other, "--json").stdout)
        assert told["differences"][0] == {"name": "seed", "a": 0, "b": 1}
        assert {one["name"].split(".")[0] for one in told["differences"]} == {"seed", "loras"}
    assert rotoscope("compare", two[1], str(manifest_file)).stdout == "made with the same\n"


def test_what_only_a_request_tells_is_compared_too() -> None:
    """Such as how the file is written; but not how the same file was named."""

    def side(**asked: Any) -> Side:
        manifest = Manifest.model_validate(MANIFEST | {"input": BODY | asked})
        return Side("one", manifest)

    there = differences(side(video_quality="low"), side(video_quality="high", video_url="other"))
    assert [(one.name, one.a, one.b) for one in there] == [("input.video_quality", "low", "high")]


def test_both_are_shown_in_a_picture(
    two: tuple[str, str], rotoscope: Rotoscope, tmp_path: Path
) -> None:
    """The moments of A above those of B, each in its own shape."""
    out = tmp_path / "new" / "both.png"
    done = rotoscope("compare", *two, "--out", str(out))

    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    picture = np.asarray(Image.open(out).convert("RGB")).astype(int)
    middle = picture[:, picture.shape[1] // 8]
    red, blue = (np.abs(middle - colour).max(axis=1) < 12 for colour in (RED, BLUE))
    assert blue.sum() == pytest.approx(2 * red.sum(), rel=0.1)
    assert np.flatnonzero(red).max() < np.flatnonzero(blue).min()


def test_both_are_shown_side_by_side(
    two: tuple[str, str], rotoscope: Rotoscope, tmp_path: Path
) -> None:
    """For as long as the longer one takes: A stays at its last frame."""
    out = tmp_path / "both.mp4"
    done = rotoscope("compare", *two, "--out", str(out), "--json")

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["differences"]
    info = probe(out)
    assert (info.size.width, info.size.height) == (128 + 64, 64 + LABEL_HEIGHT)
    frames = decode(out, frames=20, fps=Fraction(10), size=info.size).astype(int)
    assert len(frames) == 6
    assert np.abs(frames[-1, -32, 64] - RED).max() < 12
    assert np.abs(frames[-1, -32, 128 + 32] - BLUE).max() < 12
    assert frames[0, 1, 1].min() > 240


def test_what_cannot_be_shown_is_said(
    two: tuple[str, str], rotoscope: Rotoscope, tmp_path: Path
) -> None:
    """A file that is none of these, a manifest that leads to no video, another kind of --out."""
    manifest, other = tmp_path / "manifest.json", tmp_path / "other.json"
    manifest.write_text(json.dumps(MANIFEST))
    other.write_text('{"prompt": "p"}')
    wrong = [
        ((str(other),), "other.json is no /result answer or manifest"),
        ((str(manifest), "--out", str(tmp_path / "o.png")), "manifest.json names no video"),
        ((two[1], "--out", "o.webm"), "o.webm is neither .png nor .mp4"),
    ]
    for arguments, said in wrong:
        done = rotoscope("compare", two[0], *arguments)
        assert (done.exit_code, done.stdout) == (Exit.WRONG_USE, "")
        assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "o.png").exists()


def test_a_request_without_a_video_cannot_be_compared(
    site: Site, two: tuple[str, str], rotoscope: Rotoscope
) -> None:
    """With the reason and the code that `result` gives."""
    done = rotoscope("compare", two[0], site.submit())
    assert done.exit_code == Exit.NOT_NOW
    assert "has not ended" in done.stderr


def test_without_the_media_libraries_parameters_are_compared(
    two: tuple[str, str], rotoscope: Rotoscope, site: Site
) -> None:
    """A picture needs the extra, which is named."""
    command = [sys.executable, "-c", WITHOUT_AV, "compare", *two, "--server", site.url]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (plain.returncode, "seed" in plain.stdout) == (0, True)
    shown = subprocess.run(
        [*command, "--out", "o.png"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == Exit.FAILED
    assert "rotoscope[worker]" in shown.stderr

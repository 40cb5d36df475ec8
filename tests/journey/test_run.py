"""From the command line to a saved video, with the real model at its smallest."""

import json
import subprocess
from pathlib import Path

import psutil

from rotoscope.client import Client
from rotoscope.media.decode import probe
from tests.journey.conftest import ROTOSCOPE, SAMPLE
from tests.journey.site import await_status

SMALL = (
    *("--video-size", "128x64", "--num-frames", "9", "--no-match-video-length"),
    *("--num-inference-steps", "8", "--prompt", "black-and-white video, film grain"),
)


def rotoscope_run(
    environment: dict[str, str], *arguments: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*ROTOSCOPE, "run", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_makes_a_playable_video_of_a_clip(environment: dict[str, str], tmp_path: Path) -> None:
    """With a server of its own that is gone afterwards, a control video and a contact sheet."""
    out, control, sheet = (tmp_path / name for name in ("out.mp4", "control.mp4", "sheet.png"))
    done = rotoscope_run(
        *(environment, str(SAMPLE), *SMALL, "--preprocessor", "canny"),
        *("--out", str(out), "--control", str(control), "--sheet", str(sheet)),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(out), str(control), str(sheet)]
    # How many stages are seen depends on how fast the machine is; that it ends is always told.
    assert "in queue" in done.stderr
    assert "done in" in done.stderr
    info = probe(out)
    assert (info.size.width, info.size.height) == (128, 64)
    assert probe(control).size == info.size
    assert sheet.read_bytes().startswith(b"\x89PNG")
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["control.mp4", "out.mp4", "sheet.png"]
    assert not list(Path(environment["TMPDIR"]).glob("rotoscope-run-*"))


def test_a_manifest_makes_the_same_clip_again(
    up: tuple[psutil.Process, str], environment: dict[str, str], tmp_path: Path
) -> None:
    """Byte for byte; and a /result answer will do for a manifest."""
    _, url = up
    first, second, manifest = tmp_path / "1.mp4", tmp_path / "2.mp4", tmp_path / "made.json"
    there = ("--server", url, "--json")
    asked = (*SMALL, "--seed", "7", "--lora", "rotoscope://loras/style_comic:0.7")
    made = rotoscope_run(
        *(environment, str(SAMPLE), *asked, *there),
        *("--out", str(first), "--manifest", str(manifest)),
    )
    assert made.returncode == 0, made.stderr
    answer = tmp_path / "answer.json"
    answer.write_text(made.stdout)
    assert json.loads(made.stdout)["manifest"] == json.loads(manifest.read_text())

    again = (str(SAMPLE), "--from-manifest")
    done = rotoscope_run(environment, *again, str(answer), *there, "--out", str(second))
    assert done.returncode == 0, done.stderr
    assert "made with the same as before" in done.stderr
    assert second.read_bytes() == first.read_bytes()

    other = rotoscope_run(
        *(environment, *again, str(manifest), *there),
        *("--out", str(second), "--seed", "8"),
    )
    assert other.returncode == 0, other.stderr
    assert "seed: was 7, is 8" in other.stderr
    assert second.read_bytes() != first.read_bytes()


def test_up_starts_its_worker_again(up: tuple[psutil.Process, str], tmp_path: Path) -> None:
    """Killed while it runs a job, it is back soon, and the job ends well."""
    process, url = up
    body = {
        "prompt": "a garden",
        "loras": [],
        "video_size": {"width": 128, "height": 64},
        "num_frames": 9,
        "match_video_length": False,
        "num_inference_steps": 8,
    }
    with Client(url) as client:
        request_id = client.submit(body | {"video_url": client.upload(SAMPLE).url}).request_id
        await_status(client, request_id, lambda status: status.progress is not None)
        (worker,) = [child for child in process.children() if "work" in child.cmdline()]
        worker.kill()
        result = client.wait(request_id)
        assert result.status == "succeeded"
        assert result.manifest
        assert result.manifest.checkpoint == "mini"
        client.download(result, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").size.width == 128


def test_run_says_why_a_job_failed(
    up: tuple[psutil.Process, str], environment: dict[str, str], tmp_path: Path
) -> None:
    """Its code and sentence, and status 1."""
    _, url = up
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 50)
    done = rotoscope_run(environment, str(text), *SMALL, "--server", url)

    assert done.returncode == 1
    assert "unsupported_video_format" in done.stderr
    assert done.stdout == ""

"""submit, status, result and cancel, against a real server."""

import json
from pathlib import Path

import pytest

from rotoscope.cli.exits import Exit
from tests.cli.conftest import Rotoscope, Site

URL = "https://h.test/v.mp4"
GONE = "0198c0de-0000-7000-8000-000000000000"


def test_submit_prints_the_id_alone(site: Site, rotoscope: Rotoscope) -> None:
    """With its options in the request, whatever else is said goes to standard error."""
    done = rotoscope("submit", URL, "--prompt", "a drawing", "--seed", "7", "--lora", "o/n:0.5")

    assert done.exit_code == 0, done.stderr
    job = site.claim()
    assert done.stdout == f"{job['request_id']}\n"
    asked = job["input"]
    assert (asked["prompt"], asked["seed"]) == ("a drawing", 7)
    assert [(lora["path"], lora["scale"]) for lora in asked["loras"]] == [("o/n", 0.5)]
    site.fail(job)


def test_submit_uploads_local_files_and_tells_warnings(
    site: Site, rotoscope: Rotoscope, tmp_path: Path
) -> None:
    """As JSON, it is the server's own answer."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no video, which is for the worker to find")
    done = rotoscope("submit", str(clip), "--prompt", "p", "--video-size", "100x100", "--json")

    answer = json.loads(done.stdout)
    job = site.claim()
    assert answer["request_id"] == job["request_id"]
    assert job["input"]["video_url"].startswith("rotoscope://uploads/")
    assert [warning["field"] for warning in answer["warnings"]] == ["video_size"]
    assert "video_size: asked 100x100" in done.stderr
    site.fail(job)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([URL, "--prompt", "p", "--fps", "999"], "fps"),
        ([URL, "--prompt", "p", "--lora", "/etc/none.safetensors"], "loras.0.path"),
        (["none.mp4", "--prompt", "p"], "no file none.mp4"),
        (["--prompt", "p"], "VIDEO"),
    ],
)
def test_wrong_input_ends_with_2(
    site: Site, rotoscope: Rotoscope, arguments: list[str], said: str
) -> None:
    """Whether it is found here or by the server, which then has nothing queued."""
    done = rotoscope("submit", *arguments)
    assert (done.exit_code, done.stdout) == (Exit.WRONG_USE, "")
    assert said in done.stderr


def test_status_follows_a_request(site: Site, rotoscope: Rotoscope) -> None:
    """In one line, from the queue to why it failed."""
    request = site.submit()
    assert rotoscope("status", request).stdout == "in_queue: position 1\n"
    job = site.claim()
    assert rotoscope("status", request).stdout == "in_progress: starting\n"
    site.report(job)
    line = rotoscope("status", request).stdout
    assert line == "in_progress: denoise 34%, step 3/8, 0:12 left\n"
    answer = json.loads(rotoscope("status", request, "--json").stdout)
    assert answer["progress"]["fraction"] == 0.34
    site.fail(job)
    line = rotoscope("status", request).stdout
    assert line == "failed: video_too_short: It has 1 frame.\n"


def test_a_result_is_its_url_or_a_saved_file(
    site: Site, rotoscope: Rotoscope, tmp_path: Path
) -> None:
    """Or the whole answer, as JSON; `--wait` of an ended request is no wait."""
    request, out = site.submit(), tmp_path / "out.mp4"
    site.finish(site.claim(), b"the video")

    url = rotoscope("result", request).stdout.strip()
    assert url.startswith(site.url)
    assert site.http.get(url).content == b"the video"
    done = rotoscope("result", request, "--wait", "--out", str(out))
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    assert out.read_bytes() == b"the video"
    answer = json.loads(rotoscope("result", request, "--json").stdout)
    assert (answer["status"], answer["output"]["video"]) == ("succeeded", url)


def test_a_request_without_a_video_says_why(site: Site, rotoscope: Rotoscope) -> None:
    """By a code of its own for each reason, with the answer still there as JSON."""
    request = site.submit()
    early = rotoscope("result", request, "--json")
    assert (early.exit_code, json.loads(early.stdout)["status"]) == (Exit.NOT_NOW, "in_queue")
    assert "has not ended" in early.stderr

    site.fail(site.claim())
    failed = rotoscope("result", request, "--wait", "--json")
    assert failed.exit_code == Exit.FAILED
    assert json.loads(failed.stdout)["error"]["code"] == "video_too_short"
    assert "video_too_short: It has 1 frame." in failed.stderr

    other = site.submit()
    assert rotoscope("cancel", other).stdout == "cancelled\n"
    gone = rotoscope("result", other)
    assert (gone.exit_code, gone.stdout) == (Exit.CANCELLED, "")
    assert "was cancelled" in gone.stderr


def test_cancel_tells_what_became_of_it(site: Site, rotoscope: Rotoscope) -> None:
    """A running request needs --running; an ended one stays as it is."""
    request = site.submit()
    job = site.claim()
    kept = rotoscope("cancel", request)
    assert (kept.exit_code, kept.stdout) == (Exit.NOT_NOW, "not_cancellable\n")
    assert "--running" in kept.stderr
    stopping = rotoscope("cancel", request, "--running", "--json")
    assert (stopping.exit_code, json.loads(stopping.stdout)["outcome"]) == (0, "cancelling")
    site.tell(job, "stop")

    ended = site.submit()
    site.fail(site.claim())
    late = rotoscope("cancel", ended, "--running")
    assert late.exit_code == Exit.NOT_NOW
    assert "ended already" in late.stderr


@pytest.mark.parametrize("command", ["status", "result", "cancel"])
def test_an_unknown_request_is_a_sentence(site: Site, rotoscope: Rotoscope, command: str) -> None:
    """The server's own."""
    done = rotoscope(command, GONE)
    assert (done.exit_code, done.stdout) == (Exit.FAILED, "")
    assert "no such request" in done.stderr

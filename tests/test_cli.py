"""The command line: what it makes of options, and what it says of mistakes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from rotoscope.cli.children import BACKOFF_S, Child, reachable
from rotoscope.cli.doctor import GB, Memory, checkpoint_finding
from rotoscope.cli.keys import duration
from rotoscope.cli.request import LocalLora, check_body, make_body
from rotoscope.cli.run import default_name
from rotoscope.client.display import clock, detail, headline
from rotoscope.errors import InvalidInputError, OperatorError
from rotoscope.generation.weights import CHECKPOINTS
from rotoscope.keys import KeyStore
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import Progress, Status

Rotoscope = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, and no settings from outside."""
    folder = tmp_path / "data"
    monkeypatch.setenv("ROTOSCOPE_DATA_DIR", str(folder))
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("ROTOSCOPE_SERVER", raising=False)
    return folder


@pytest.fixture
def rotoscope(data_dir: Path) -> Rotoscope:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})

    return run


def status(word: str, **more: object) -> Status:
    links = {"status_url": "s", "result_url": "r"}
    return Status.model_validate({"request_id": "1", "status": word, **links, **more})


# keys


def test_a_key_is_shown_once_and_works(rotoscope: Rotoscope, data_dir: Path) -> None:
    """The token alone is on standard output; the list never shows it."""
    token = rotoscope("keys", "create", "ann").stdout.strip()

    with KeyStore(data_dir) as store:
        key = store.verify(token)
    assert key
    assert (key.name, key.role) == ("ann", "client")
    listed = rotoscope("keys", "list").stdout
    assert "ann" in listed
    assert token not in listed


def test_a_revoked_key_works_no_more(rotoscope: Rotoscope, data_dir: Path) -> None:
    """At once, for a worker's key too."""
    token = rotoscope("keys", "create", "gpu-1", "--worker").stdout.strip()
    with KeyStore(data_dir) as store:
        key = store.verify(token)
        assert key
        assert key.role == "worker"
        assert "is revoked" in rotoscope("keys", "revoke", key.id).stdout
        assert store.verify(token) is None
    assert "revoked" in rotoscope("keys", "list").stdout


def test_a_rotated_key_works_beside_its_successor(rotoscope: Rotoscope, data_dir: Path) -> None:
    """For the overlap; without one it ends at once."""
    old = rotoscope("keys", "create", "ann").stdout.strip()
    with KeyStore(data_dir) as store:
        first = store.verify(old)
        assert first
        new = rotoscope("keys", "rotate", first.id, "--overlap", "1h").stdout.strip()
        second = store.verify(new)
        assert second
        assert second.owner == first.owner
        assert store.verify(old)
        rotoscope("keys", "rotate", first.id, "--overlap", "0s")
        assert store.verify(old) is None


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200)])
def test_durations_are_read(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "24", "1 h", "-1h", "h"])
def test_a_wrong_duration_is_refused(text: str) -> None:
    """With the right form in the sentence."""
    with pytest.raises(OperatorError, match="24h"):
        duration(text)


# mistakes


def test_an_operators_mistake_is_one_sentence(rotoscope: Rotoscope) -> None:
    """On standard error, with status 1 and no traceback."""
    result = rotoscope("keys", "revoke", "no-such-key")

    assert result.exit_code == 1
    assert "There is no key no-such-key" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_setting_is_named(rotoscope: Rotoscope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it came from."""
    monkeypatch.setenv("ROTOSCOPE_PORT", "many")
    result = rotoscope("doctor")

    assert result.exit_code == 1
    assert "port" in result.stderr


def test_an_unknown_checkpoint_is_answered_with_the_list(rotoscope: Rotoscope) -> None:
    """Of those that there are."""
    result = rotoscope("doctor", "--checkpoint", "mega")
    assert result.exit_code == 1
    assert "mini" in result.stderr


# the body that `run` sends


def test_every_input_field_is_an_option(rotoscope: Rotoscope) -> None:
    """Made from the input model; VIDEO and --lora stand for two of them."""
    text = re.sub(r"[\s│]+", " ", rotoscope("run", "--help").stdout)
    for name in VideoToVideoInput.model_fields.keys() - {"video_url", "loras"}:
        assert f"--{name.replace('_', '-')}" in text


def test_options_win_over_set_and_set_over_input() -> None:
    """The nearer to the command line's end of convenience, the stronger."""
    body = make_body(
        "https://h.test/v.mp4",
        [],
        '{"prompt": "a", "seed": 1, "fps": 10}',
        ["seed=2", "fps=20"],
        {"fps": 30.0, "num_frames": None},
    )
    assert body == {
        "prompt": "a",
        "video_url": "https://h.test/v.mp4",
        "loras": [],
        "seed": 2,
        "fps": 30.0,
    }


def test_input_can_be_a_file(tmp_path: Path) -> None:
    """With @ before its name."""
    file = tmp_path / "body.json"
    file.write_text(json.dumps({"prompt": "from a file"}))
    assert make_body("v.mp4", [], f"@{file}", [], {})["prompt"] == "from a file"


@pytest.mark.parametrize(
    ("text", "lora"),
    [
        ("a.safetensors", LocalLora("a.safetensors", 1.0)),
        ("a.safetensors:0.8", LocalLora("a.safetensors", 0.8)),
        ("https://h.test/a.safetensors", LocalLora("https://h.test/a.safetensors", 1.0)),
        ("https://h.test/a.safetensors:2", LocalLora("https://h.test/a.safetensors", 2.0)),
        ("odd:name", LocalLora("odd:name", 1.0)),
    ],
)
def test_a_lora_has_a_path_and_perhaps_a_scale(text: str, lora: LocalLora) -> None:
    """Only a number after the last colon is a scale."""
    assert LocalLora.parse(text) == lora


def test_a_size_may_be_written_with_a_cross() -> None:
    """Or as one of the names."""
    assert make_body("v", [], None, [], {"video_size": "512x320"})["video_size"] == {
        "width": 512,
        "height": 320,
    }
    assert make_body("v", [], None, [], {"video_size": "square"})["video_size"] == "square"


def test_every_mistake_is_found_before_anything_starts() -> None:
    """Local files count as present: whether they are is asked elsewhere."""
    check_body(make_body("clip.mp4", [], None, [], {"prompt": "p", "image_url": "first.png"}))
    with pytest.raises(InvalidInputError) as error:
        check_body(make_body("clip.mp4", [], None, ["sed=1"], {"fps": 99.0}))
    wrong = {entry["loc"][-1] for entry in error.value.detail}
    assert wrong == {"prompt", "sed", "fps"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.mp4", "--prompt", "p"], "no file none.mp4"),
        (["https://h.test/v.mp4"], "prompt"),
        (["https://h.test/v.mp4", "--prompt", "p", "--guidance-scale", "99"], "guidance_scale"),
        (["https://h.test/v.mp4", "--prompt", "p", "--input", "["], "--input"),
        (["https://h.test/v.mp4", "--prompt", "p", "--set", "seed"], "NAME=VALUE"),
        (["https://h.test/v.mp4", "--prompt", "p", "--video-quality", "best"], "maximum"),
    ],
)
def test_wrong_use_of_run_ends_with_2(
    rotoscope: Rotoscope, arguments: list[str], said: str
) -> None:
    """Before a server is started or called, with the field at fault."""
    result = rotoscope("run", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_server_that_does_not_answer_is_a_sentence(rotoscope: Rotoscope, tmp_path: Path) -> None:
    """With its address in it."""
    clip = tmp_path / "v.mp4"
    clip.touch()
    result = rotoscope("run", str(clip), "--prompt", "p", "--server", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "http://127.0.0.1:9 does not answer" in result.stderr


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("clips/walk.mov", "walk-restyled.mp4"),
        ("https://h.test/a/b.mp4?token=1", "b-restyled.mp4"),
        ("data:video/mp4;base64,AAAA", "mp4;base64,AAAA-restyled.mp4"),
        ("https://h.test", "video-restyled.mp4"),
    ],
)
def test_the_result_is_named_after_the_source(video: str, name: str) -> None:
    """And lands in the working folder."""
    assert default_name(video) == Path(name)


# what is shown


def test_the_bar_shows_stage_steps_and_time_left() -> None:
    """What a person waiting wants to know."""
    progress = Progress(
        stage="denoise", stages=["denoise"], step=3, steps=40, fraction=0.1, eta_s=67.4
    )
    running = status("in_progress", progress=progress)
    assert headline(running) == "denoise"
    assert detail(running) == "step 3/40  1:07 left"
    assert headline(status("in_queue", queue_position=2)) == "in queue, position 2"
    assert clock(3723) == "1:02:03"


# processes


def test_a_server_on_every_address_is_called_on_loopback() -> None:
    """Its own address would not do as a destination."""
    assert reachable("http://0.0.0.0:8000") == "http://127.0.0.1:8000"
    assert reachable("http://[::]:8000") == "http://[::1]:8000"
    assert reachable("http://10.0.0.1:80") == "http://10.0.0.1:80"


def test_a_child_with_a_wrong_setup_is_not_started_again(data_dir: Path) -> None:
    """Its own sentence is on standard error; the parent says that it ended."""
    child = Child("serve", {"ROTOSCOPE_PORT": "many"}, None)
    with pytest.raises(OperatorError, match="did not start"):
        child.announced()
    with pytest.raises(OperatorError, match="ended"):
        child.check()
    child.end()


def test_a_child_that_is_killed_starts_again(data_dir: Path) -> None:
    """After a pause that grows, at the same address; and it ends when it is told to."""
    now = 0.0
    child = Child("serve", {"ROTOSCOPE_PORT": "0"}, None, clock=lambda: now)
    first = child.announced()
    assert first.startswith("http://127.0.0.1:")
    child._process.kill()
    child._process.wait()

    child.check()
    now = BACKOFF_S[0] / 2
    child.check()
    assert child._process.poll() is not None
    now = BACKOFF_S[0]
    child.check()
    assert child.announced().startswith("http://127.0.0.1:")

    child.end()
    assert child._process.returncode == 0


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    """They are loaded by the commands that need them."""
    code = (
        "import sys, rotoscope.cli; "
        "print(*{'torch', 'diffusers', 'av', 'numpy', 'fastapi'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# doctor


def test_doctor_says_what_this_machine_can_do(rotoscope: Rotoscope) -> None:
    """The small checkpoint runs anywhere, so the report ends well."""
    result = rotoscope("doctor", "--checkpoint", "mini")

    assert result.exit_code == 0
    expected = ("processor", "GPU", "codecs", "preprocessors", "data folder", "keys", "mini (used)")
    for what in expected:
        assert what in result.stdout
    assert "pose by movenet-multipose" in " ".join(result.stdout.split())


def test_doctor_names_a_checkpoint_that_cannot_run() -> None:
    """Too little memory or absent files are a fault of the one in use, a note for others."""
    big = CHECKPOINTS["ltx-2-19b-dev"]
    small, large = Memory(8 * GB, None), Memory(140 * GB, "a GPU")
    absent, ready = ("missing", "nothing in /x"), ("ready", "complete in /x")

    assert checkpoint_finding(big, small, ready, used=True).state == "missing"
    assert checkpoint_finding(big, large, absent, used=True).state == "missing"
    assert checkpoint_finding(big, large, absent, used=False).state == "note"
    assert checkpoint_finding(big, large, ready, used=True).state == "ok"


def test_a_checkpoint_made_here_is_at_fault_when_broken() -> None:
    """Not there yet is fine, since it is made on use; half there is not."""
    mini, memory = CHECKPOINTS["mini"], Memory(16 * GB, None)

    assert checkpoint_finding(mini, memory, ("missing", ""), used=True).state == "ok"
    assert checkpoint_finding(mini, memory, ("incomplete", ""), used=True).state == "missing"


def test_models_are_listed_with_their_state(rotoscope: Rotoscope) -> None:
    """The bare command lists, and marks the one in use."""
    result = rotoscope("models")
    assert result.exit_code == 0
    assert "mini (used): missing: made on first use" in result.stdout
    assert "rotoscope models fetch ltx-2-19b-dev" in result.stdout


def test_loras_that_come_with_a_checkpoint_are_listed(
    rotoscope: Rotoscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are written in a request."""
    loras = tmp_path / "shipped/mini/loras"
    loras.mkdir(parents=True)
    (loras / "style_comic.safetensors").touch()
    monkeypatch.setattr("rotoscope.generation.weights.SHIPPED", tmp_path / "shipped")

    result = rotoscope("models")

    assert result.stdout.count("rotoscope://loras/style_comic") == 1

"""run --from-manifest: what a manifest says to ask for, and what is told of differences."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rotoscope.cli import app
from rotoscope.cli.again import differences, objections, read_manifest, request_of
from rotoscope.cli.request import check_body, make_body
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import LoraFacts, Manifest

SHA = hashlib.sha256(b"clip").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def make_manifest(asked: dict[str, Any] | None = None, **fields: Any) -> Manifest:
    """What is left of a clip of a.mp4, as the worker writes it."""
    body = {"prompt": "a cat", "video_url": "https://h.test/a.mp4", "loras": [], **(asked or {})}
    made = {
        "model_id": "m",
        "checkpoint": "mini",
        "prompt": body["prompt"],
        "asked_prompt": body["prompt"],
        "negative_prompt": "",
        "seed": 3,
        "width": 448,
        "height": 256,
        "frames": 9,
        "fps": "25",
        "steps": 8,
        "guidance_scale": 3.0,
        "multiscale": True,
        "audio": False,
        "video_strength": 1.0,
        "source_sha256": SHA,
        "image_sha256": None,
        "loras": [],
        "versions": {"rotoscope": "1", "torch": "2"},
        "input": VideoToVideoInput.model_validate_json(json.dumps(body)).model_dump(mode="json"),
    }
    return Manifest.model_validate(made | fields)


def lora_facts(**fields: Any) -> LoraFacts:
    facts = {"path": "/l/a.safetensors", "scale": 1.0, "sha256": SHA, "rank": 4, "layers": 2}
    return LoraFacts.model_validate(facts | fields)


@pytest.fixture
def clip(tmp_path: Path) -> str:
    (tmp_path / "a.mp4").write_bytes(b"clip")
    return str(tmp_path / "a.mp4")


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    (tmp_path / "b.mp4").write_bytes(b"another")
    return str(tmp_path / "b.mp4")


def found(manifest: Manifest, *, own: bool = True, **fields: object) -> list[str]:
    body = request_of(manifest, own=own) | fields
    return list(objections(body, manifest, own=own))


def test_the_request_is_the_one_that_was_accepted() -> None:
    """A valid body with every default, the size that was made, and no second expansion."""
    asked = {"enable_prompt_expansion": True, "fps": 12.5, "match_input_fps": False, "seed": 3}
    manifest = make_manifest(asked, prompt="a cat, in warm light")
    body = request_of(manifest, own=True)

    check_body(body)
    assert body["prompt"] == "a cat, in warm light"
    assert body["enable_prompt_expansion"] is False
    assert (body["fps"], body["seed"], body["video_url"]) == (12.5, 3, "https://h.test/a.mp4")
    assert body["video_size"] == {"width": 448, "height": 256}
    assert body.keys() == VideoToVideoInput.model_fields.keys()


def test_loras_are_asked_for_by_their_commit() -> None:
    """What is on the main branch today may be another file; others stay as they were."""
    asked = {"loras": [{"path": "a/style", "scale": 0.5}, {"path": "https://h.test/l.safetensors"}]}
    source = "a/style@" + "c" * 40 + "/l.safetensors"
    facts = [lora_facts(path="a/style", source=source, revision="c" * 40)]
    body = request_of(make_manifest(asked, loras=facts), own=True)

    check_body(body)
    assert [lora["path"] for lora in body["loras"]] == [source, "https://h.test/l.safetensors"]
    assert body["loras"][0]["scale"] == 0.5


def test_a_size_by_name_stays(clip: str) -> None:
    """It means the same everywhere; so does auto where the sides are smaller than can be asked."""
    assert request_of(make_manifest({"video_size": "square"}), own=True)["video_size"] == "square"
    tiny = make_manifest(width=32, height=64)
    assert request_of(tiny, own=True)["video_size"] == "auto"


def test_options_change_the_request() -> None:
    """They are stronger than the manifest."""
    base = request_of(make_manifest(), own=True)
    body = make_body(None, ["l.safetensors:2"], None, ["seed=9"], {"fps": 30.0}, base)

    assert (body["seed"], body["fps"]) == (9, 30.0)
    assert body["loras"] == [{"path": "l.safetensors", "scale": 2.0}]
    assert body["video_url"] == "https://h.test/a.mp4"


def test_the_same_files_are_accepted(clip: str) -> None:
    """By what is in them, wherever they lie."""
    manifest = make_manifest(image_sha256=SHA, loras=[lora_facts()])
    loras = [{"path": clip, "scale": 1.0}]
    assert found(manifest, video_url=clip, image_url=clip, loras=loras) == []


@pytest.mark.parametrize("name", ["video_url", "image_url", "loras"])
def test_other_files_are_refused(clip: str, wrong: str, name: str) -> None:
    """Before anything is sent, by their field."""
    manifest = make_manifest(image_sha256=SHA, loras=[lora_facts()])
    files: dict[str, Any] = {"video_url": clip, "image_url": clip}
    files[name] = [{"path": wrong}] if name == "loras" else wrong
    (sentence,) = found(manifest, **files)

    assert sentence.startswith(name)
    assert wrong in sentence


def test_a_lora_that_does_not_act_has_no_say(clip: str, wrong: str) -> None:
    """At scale 0 its file is never opened."""
    assert found(make_manifest(), video_url=clip, loras=[{"path": wrong, "scale": 0}]) == []


@pytest.mark.parametrize("own", [True, False])
def test_files_that_are_gone_have_to_be_given(clip: str, *, own: bool) -> None:
    """What was sent in the request itself everywhere, uploads where the server is a new one."""
    upload = "rotoscope://uploads/" + "0" * 32
    asked = {"video_url": upload, "loras": [{"path": upload}]}
    manifest = make_manifest(asked, loras=[lora_facts(path=upload)])
    manifest = manifest.model_copy(
        update={"image_sha256": SHA, "input": {**(manifest.input or {}), "image_url": "sha256:1"}}
    )
    fields = [sentence.partition(":")[0] for sentence in found(manifest, own=own)]

    assert fields == (["video_url", "image_url", "loras.0.path"] if own else ["image_url"])


def test_nothing_differs_between_twins() -> None:
    """How a clip was asked for is not how it was made; nor is a LoRA's path what is in it."""
    before = make_manifest(prompt="longer", asked_prompt="short", loras=[lora_facts()])
    after = make_manifest({"prompt": "longer"}, loras=[lora_facts(path="rotoscope://uploads/1")])

    assert list(differences(before, after)) == []


def test_every_difference_is_told() -> None:
    """By its name, with both values."""
    before = make_manifest(loras=[lora_facts()])
    after = make_manifest(
        seed=4,
        source_sha256=OTHER,
        versions={"rotoscope": "1", "torch": "3", "av": "1"},
        loras=[lora_facts(sha256=OTHER), lora_facts(scale=0.5)],
    )
    told = dict(line.split(": ", 1) for line in differences(before, after))

    assert told["seed"] == "was 3, is 4"
    assert told["source_sha256"] == f"was {SHA}, is {OTHER}"
    assert told["versions.torch"] == "was 2, is 3"
    assert told["versions.av"] == "was None, is 1"
    assert told["loras.0.sha256"] == f"was {SHA}, is {OTHER}"
    assert told["loras.1.scale"] == "was None, is 0.5"
    assert {name.split(".")[0] for name in told} == {"seed", "source_sha256", "versions", "loras"}


def test_a_result_holds_its_manifest(tmp_path: Path) -> None:
    """Alone or in the answer around it."""
    manifest, file = make_manifest(), tmp_path / "m.json"
    file.write_text(manifest.model_dump_json())
    assert read_manifest(file) == manifest
    file.write_text(json.dumps({"request_id": "1", "manifest": manifest.model_dump(mode="json")}))
    assert read_manifest(file) == manifest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no JSON", "holds no manifest"),
        ("[1]", "holds no manifest"),
        ('{"manifest": {"seed": 1}}', "model_id"),
        (make_manifest().model_copy(update={"input": None}).model_dump_json(), "keep the request"),
    ],
)
def test_a_file_without_a_manifest_is_refused(tmp_path: Path, content: str, said: str) -> None:
    """With what is missing."""
    file = tmp_path / "m.json"
    file.write_text(content)
    with pytest.raises(typer.BadParameter, match=said):
        read_manifest(file)


def test_run_refuses_another_source(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a server is started, with status 2."""
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    file = tmp_path / "m.json"
    file.write_text(make_manifest().model_dump_json())
    done = CliRunner().invoke(app, ["run", wrong, "--from-manifest", str(file)])

    assert done.exit_code == 2
    assert "is not the file that the clip was made with" in done.stderr


def test_run_needs_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From somewhere: VIDEO, --input or a manifest."""
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    done = CliRunner().invoke(app, ["run", "--prompt", "p"])

    assert done.exit_code == 2
    assert "VIDEO" in done.stderr

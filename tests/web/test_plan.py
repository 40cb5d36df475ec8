"""What a request would make, told without making it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from rotoscope.client import Client
from rotoscope.generation.plan import make_plan
from rotoscope.generation.weights import CHECKPOINTS, PARTS
from rotoscope.media.clip import Clip
from rotoscope.media.encode import encode
from rotoscope.web import plan as plan_module
from tests.https_site import HttpsSite, https_site
from tests.web.conftest import BODY, SUBMIT, OpenSite, Site

PLAN = f"{SUBMIT}/plan"


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds of 640x360 at 10 frames a second."""
    frames = np.zeros((20, 360, 640, 3), np.uint8)
    folder = tmp_path_factory.mktemp("clip")
    return encode(Clip(frames, Fraction(10)), quality="low", into=folder).path.read_bytes()


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsSite]:
    with https_site(tmp_path_factory.mktemp("web")) as site:
        yield site


@pytest.fixture
def planning(open_site: OpenSite, web: HttpsSite) -> Site:
    """A server that may fetch from the site of the tests."""
    return open_site(fetch_private_hosts=("127.0.0.1",), fetch_ca_file=web.ca_file)


def upload(site: Site, content: bytes) -> str:
    answer = site.http.post("/v1/uploads", content=content, headers=site.client)
    return str(answer.json()["url"])


def ask(site: Site, **fields: object) -> httpx2.Response:
    return site.http.post(PLAN, json=BODY | fields, headers=site.client)


def planned(site: Site, **fields: object) -> dict[str, Any]:
    answer = ask(site, **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(site: Site, **fields: object) -> dict[str, Any]:
    """The one entry of a 422's detail."""
    answer = ask(site, **fields)
    assert answer.status_code == 422, answer.text
    (entry,) = answer.json()["detail"]
    assert isinstance(entry, dict)
    return entry


def test_the_answer_is_the_plan(site: Site, clip: bytes) -> None:
    """Of the checkpoint in the settings: size, frames, rate, passes; and no job is queued."""
    asked = {"num_inference_steps": 12, "guidance_scale": 2, "generate_audio": False, "seed": 5}
    made = planned(site, video_url=upload(site, clip), **asked)

    assert made["checkpoint"] == "mini"
    assert made["source"] == {
        "width": 640,
        "height": 360,
        "fps": "10",
        "duration_s": 2.0,
        "codec": "h264",
    }
    assert (made["width"], made["height"]) == (448, 256)
    assert (made["frames"], made["fps"], made["duration_s"]) == (17, "10", 1.7)
    assert (made["seed"], made["audio"]) == (5, False)
    first, second = made["passes"]
    assert (first["stage"], first["steps"], first["guidance_scale"]) == ("denoise", 12, 2)
    assert (first["width"], first["height"], first["reference"]) == (224, 128, True)
    # 7 x 4 tokens a latent frame, of which 17 frames are 3; the reference has as many.
    assert first["tokens"] == 7 * 4 * 3 * 2
    assert (second["stage"], second["width"], second["height"]) == ("refine", 448, 256)
    assert site.parts.store.waiting() == 0


def test_changed_values_are_told(site: Site, clip: bytes) -> None:
    """As the job itself would warn."""
    made = planned(site, video_url=upload(site, clip), match_video_length=False, num_frames=14)

    told = {warning["field"]: warning for warning in made["warnings"]}
    assert (told["num_frames"]["asked"], told["num_frames"]["used"]) == (14, 17)
    assert told["video_size"]["used"] == "448x256"


def test_the_operators_settings_count(open_site: OpenSite, clip: bytes) -> None:
    """Checkpoint, area and choices are those that a worker of the same settings has."""
    site = open_site(checkpoint="ltx-2-19b-distilled", max_area=128 * 128)
    made = planned(site, video_url=upload(site, clip))

    assert made["checkpoint"] == "ltx-2-19b-distilled"
    assert made["width"] * made["height"] <= 192 * 128
    assert made["passes"][0]["steps"] == 8
    assert "num_inference_steps" in {warning["field"] for warning in made["warnings"]}


def test_what_costs_more_is_told_to_cost_more(site: Site, clip: bytes) -> None:
    """More steps, more frames, a source that is looked at; the default five seconds are 1."""
    url = upload(site, clip)
    few = planned(site, video_url=url, num_inference_steps=10)
    many = planned(site, video_url=url, num_inference_steps=20)
    free = planned(site, video_url=url, num_inference_steps=10, video_strength=0)

    assert many["work"]["denoise"] == pytest.approx(2 * few["work"]["denoise"], rel=0.01)
    assert free["relative_cost"] < few["relative_cost"] < many["relative_cost"] < 1
    assert few["work"].keys() == {
        *("text", "condition", "denoise", "upsample", "refine", "decode"),
    }


def test_a_usual_request_costs_1(site: Site) -> None:
    """That is what relative_cost is measured in."""
    settings, checkpoint = site.parts.settings, CHECKPOINTS["ltx-2-19b-dev"]
    source = plan_module.USUAL_SOURCE
    made = make_plan(plan_module.USUAL, source, checkpoint, max_area=None)
    usual = plan_module.planned("m", made, source, checkpoint, settings)
    assert usual.relative_cost == 1
    assert (usual.width, usual.height, usual.frames) == (1280, 704, 121)


def test_memory_is_told_where_the_checkpoint_is_here(
    site: Site, clip: bytes, checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes under each memory plan, more for a larger clip; nothing where it is elsewhere."""
    url = upload(site, clip)
    assert planned(site, video_url=url)["memory_bytes"] is None

    monkeypatch.setattr(plan_module, "folder_of", lambda *_: checkpoint_folder)
    small = planned(site, video_url=url, video_size={"width": 128, "height": 64})["memory_bytes"]
    large = planned(site, video_url=url)["memory_bytes"]
    assert large.keys() == {"resident", "offloaded", "fp8"}
    assert large["resident"] > small["resident"] > 2000
    assert large["resident"] > large["offloaded"] >= large["fp8"]


@pytest.fixture
def checkpoint_folder(tmp_path: Path) -> Path:
    """The headers of a checkpoint: weights of a few thousand numbers."""
    folder = tmp_path / "checkpoint"
    for part, marker in PARTS.items():
        (folder / part).mkdir(parents=True)
        (folder / part / marker).write_text("{}")
        if part != "tokenizer":
            header = json.dumps({"w": {"dtype": "F32", "shape": [500, 10]}}).encode()
            length = len(header).to_bytes(8, "little")
            (folder / part / "model.safetensors").write_bytes(length + header)
    transformer = {"num_attention_heads": 2, "attention_head_dim": 16}
    (folder / "transformer" / "config.json").write_text(json.dumps(transformer))
    text = {"text_config": {"hidden_size": 32, "num_hidden_layers": 2}}
    (folder / "text_encoder" / "config.json").write_text(json.dumps(text))
    return folder


@pytest.mark.parametrize("form", ["https", "data"])
def test_the_source_may_come_in_any_form(
    planning: Site, web: HttpsSite, clip: bytes, form: str
) -> None:
    """Fetched under the same guard as a worker's."""
    url = (
        web.serve_bytes("/clip.mp4", clip)
        if form == "https"
        else f"data:video/mp4;base64,{base64.b64encode(clip).decode()}"
    )
    assert planned(planning, video_url=url)["frames"] == 17


def test_what_would_fail_the_job_is_a_wrong_field(planning: Site, web: HttpsSite) -> None:
    """By its field and the job error's code, as 422."""
    gone = refused(planning, video_url=web.serve_bytes("/gone.mp4", b"", 404))
    assert gone["loc"] == ["body", "video_url"]
    assert gone["type"] == "file_download_error"
    assert "404" in gone["msg"]

    text = refused(planning, video_url="data:text/plain,this%20is%20no%20video")
    assert (text["loc"], text["type"]) == (["body", "video_url"], "unsupported_video_format")


def test_too_large_a_source_is_refused(open_site: OpenSite, clip: bytes) -> None:
    """Wherever it comes from."""
    site = open_site(max_video_bytes=1000)
    assert refused(site, video_url=upload(site, clip))["type"] == "file_too_large"
    uri = f"data:video/mp4;base64,{base64.b64encode(clip).decode()}"
    assert refused(site, video_url=uri)["type"] == "file_too_large"


def test_what_a_submit_refuses_is_refused(site: Site, clip: bytes) -> None:
    """Before anything is fetched: fields, addresses, others' uploads, keys, models, media types."""
    assert refused(site, promt="p")["type"] == "extra_forbidden"
    assert refused(site, video_url="https://127.0.0.1/a.mp4")["type"] == "uri"
    mine = upload(site, clip)
    theirs = site.http.post(PLAN, json=BODY | {"video_url": mine}, headers=site.other)
    assert theirs.status_code == 422
    assert site.http.post(PLAN, json=BODY).status_code == 401
    unknown = site.http.post("/v1/models/a/b/plan", json=BODY, headers=site.client)
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, 400001)
    headers = site.client | {"Content-Type": "text/plain"}
    assert site.http.post(PLAN, content=b"{}", headers=headers).status_code == 415


def test_a_server_without_media_libraries_says_so(
    site: Site, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 503, with what to install."""
    monkeypatch.setattr(plan_module, "find_spec", lambda _: None)
    answer = ask(site, video_url=upload(site, clip))

    assert answer.status_code == 503
    assert "rotoscope[worker]" in answer.json()["error_message"]


@contextmanager
def held(site: Site, url: str, count: int) -> Iterator[list[int]]:
    """So many plans of a source at once, each in a thread; their statuses at the end."""
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(site, video_url=url).status_code))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    yield statuses
    for thread in threads:
        thread.join()


def test_no_more_at_once_than_allowed(
    planning: Site, web: HttpsSite, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait; those beyond are told to come back; other routes answer meanwhile."""
    monkeypatch.setattr(plan_module, "MOST_WAITING", 1)
    release, arrived = threading.Event(), threading.Semaphore(0)

    def slow(request: BaseHTTPRequestHandler) -> None:
        arrived.release()
        release.wait(20)
        request.send_response(200)
        request.send_header("Content-Length", str(len(clip)))
        request.end_headers()
        request.wfile.write(clip)

    url = web.serve("/slow.mp4", slow)
    with held(planning, url, plan_module.AT_ONCE + 1) as statuses:
        assert all(arrived.acquire(timeout=20) for _ in range(plan_module.AT_ONCE))
        while planning.parts.probes.statistics().tasks_waiting == 0:
            assert planning.http.get("/healthz").status_code == 200
        beyond = ask(planning, video_url=url)
        assert (beyond.status_code, beyond.headers["Retry-After"]) == (503, "10")
        assert not arrived.acquire(timeout=0)
        release.set()
    assert statuses == [200] * (plan_module.AT_ONCE + 1)


def test_the_client_asks_for_plans(site: Site, clip: bytes, tmp_path: Path) -> None:
    """By its own method."""

    def through(request: httpx2.Request) -> httpx2.Response:
        answer = site.http.request(
            request.method, request.url.path, content=request.read(), headers=dict(request.headers)
        )
        return httpx2.Response(answer.status_code, content=answer.content)

    token = site.client["Authorization"].removeprefix("Bearer ")
    with Client("http://testserver", token, transport=httpx2.MockTransport(through)) as client:
        made = client.plan(BODY | {"video_url": upload(site, clip)})
    assert (made.frames, made.checkpoint) == (17, "mini")

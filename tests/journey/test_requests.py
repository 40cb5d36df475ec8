"""Requests as clients send them, to the real server, worker and small model."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import psutil
import pytest
import torch
from av.video.frame import VideoFrame
from diffusers import LTX2VideoTransformer3DModel
from safetensors.torch import save_file

from rotoscope.client import Client
from rotoscope.generation.mini.make import make_mini
from rotoscope.generation.weights import folder_of
from rotoscope.media.decode import decode, probe
from rotoscope.settings import Settings
from tests.https_site import HttpsSite
from tests.journey.conftest import SAMPLE
from tests.media.conftest import make_claiming

MODEL = "/v1/models/ltx/ltx-2-19b/video-to-video/lora"
QUICK = {"video_size": {"width": 128, "height": 64}, "num_inference_steps": 8}


@pytest.fixture
def http(up: tuple[psutil.Process, str]) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=up[1], timeout=60) as client:
        yield client


@pytest.fixture
def client(up: tuple[psutil.Process, str]) -> Iterator[Client]:
    with Client(up[1]) as client:
        yield client


@pytest.fixture(scope="session")
def style(loras: Path, data_dir: Path) -> Path:
    """A LoRA in the published layout, fitting the small model, in the operator's folder."""
    mini = folder_of("mini", Settings(data_dir=data_dir))
    if not mini.is_dir():
        make_mini(mini)
    model = LTX2VideoTransformer3DModel.from_pretrained(mini / "transformer")
    rng = torch.Generator().manual_seed(3)
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".attn1.to_" in name:
            key = f"diffusion_model.{name}"
            down = torch.randn((4, module.in_features), generator=rng)
            tensors[f"{key}.lora_A.weight"] = down
            tensors[f"{key}.lora_B.weight"] = 0.003 * torch.randn(
                (module.out_features, 4), generator=rng
            )
    path = loras / "style.safetensors"
    save_file(tensors, path)
    return path


def test_the_published_request_as_it_stands(
    http: httpx2.Client, client: Client, web: HttpsSite, style: Path, tmp_path: Path
) -> None:
    """Only the clip's host and the LoRA's path are others; all else is left to the defaults."""
    body = {
        "prompt": "black-and-white video, a girl is playing a guitar, film grain",
        "video_url": web.serve_bytes("/input-1-1.mp4", short_sample(tmp_path).read_bytes()),
        "loras": [{"path": str(style), "scale": 1}],
    }

    submitted = http.post(MODEL, json=body).raise_for_status().json()
    assert {"request_id", "status_url", "result_url", "cancel_url"} <= submitted.keys()
    client.wait(submitted["request_id"], poll_s=0.1)

    status = http.get(submitted["status_url"]).json()
    result = http.get(submitted["result_url"]).json()
    assert (status["status"], result["status"]) == ("completed", "succeeded")
    manifest, media = result["manifest"], result["media"]
    assert (manifest["width"], manifest["height"]) == (448, 256)
    assert (manifest["frames"], manifest["fps"], manifest["steps"]) == (25, "30", 40)
    assert (manifest["guidance_scale"], manifest["seed"]) == (3, 0)
    (lora,) = manifest["loras"]
    assert lora["path"] == str(style)
    assert lora["layers"] > 0
    assert {warning["field"] for warning in result["warnings"]} == {"num_frames", "video_size"}

    file = tmp_path / "result.mp4"
    file.write_bytes(http.get(result["output"]["video"]).raise_for_status().content)
    assert file.stat().st_size == media["size"]
    with av.open(file) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (448, 256, 30)
        assert sum(1 for _ in container.decode(video)) == 25
        assert float(audio.duration * audio.time_base) == pytest.approx(25 / 30, abs=0.002)


def short_sample(folder: Path) -> Path:
    """The first 26 frames of the sample clip, so that the frames have to be snapped."""
    path = folder / "short.mp4"
    frames = decode(SAMPLE, frames=26, fps=Fraction(30), size=probe(SAMPLE).size)
    write_video(path, list(frames), rate=30)
    return path


def write_video(path: Path, frames: list[Any], rate: int = 25) -> Path:
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.height, stream.width, _ = frames[0].shape
        stream.pix_fmt = "yuv420p"
        for index, pixels in enumerate(frames):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def clip_url(web: HttpsSite, clip: Path) -> str:
    return web.serve_bytes("/clip.mp4", clip.read_bytes())


def make(client: Client, folder: Path, body: dict[str, Any]) -> bytes:
    result = client.wait(client.submit(body).request_id, poll_s=0.05)
    assert result.status == "succeeded", result.error
    return client.download(result, folder / "out.mp4").read_bytes()


def test_the_same_request_makes_the_same_bytes(
    client: Client, clip_url: str, tmp_path: Path
) -> None:
    """And another seed makes others."""
    body = {**QUICK, "prompt": "a garden", "video_url": clip_url, "loras": []}

    first, second, other = (make(client, tmp_path, {**body, "seed": seed}) for seed in (5, 5, 6))

    assert first == second
    assert first != other


@pytest.fixture
def named(style: Path, data_dir: Path) -> Iterator[Path]:
    """The style's file under names that requests use, in the open checkpoint's own folder."""
    folder = folder_of("mini", Settings(data_dir=data_dir)) / "loras"
    existed = folder.is_dir()
    folder.mkdir(exist_ok=True)
    files = [folder / f"{name}.safetensors" for name in ("ic_pose", "camera_jib_up", "own")]
    before = {file: file.read_bytes() for file in files if file.is_file()}
    for file in files:
        file.write_bytes(style.read_bytes())
    yield folder
    for file in files:
        file.unlink()
    for file, content in before.items():
        file.write_bytes(content)
    if not existed:
        folder.rmdir()


def test_loras_by_name_act_and_are_in_the_manifest(
    client: Client, clip_url: str, named: Path, tmp_path: Path
) -> None:
    """Each at its own scale, whichever field named it."""
    body = {**QUICK, "prompt": "a garden", "video_url": clip_url, "loras": []}
    by_name = {
        "loras": [{"path": "rotoscope://loras/own", "scale": 0.5}],
        "ic_lora": "pose",
        "ic_lora_scale": 0.75,
        "camera_lora": "jib_up",
        "camera_lora_scale": 0.25,
    }

    plain = make(client, tmp_path, body)
    result = client.wait(client.submit({**body, **by_name}).request_id, poll_s=0.05)

    assert result.manifest is not None
    assert {lora.path: lora.scale for lora in result.manifest.loras} == {
        "rotoscope://loras/own": 0.5,
        "rotoscope://loras/ic_pose": 0.75,
        "rotoscope://loras/camera_jib_up": 0.25,
    }
    assert client.download(result, tmp_path / "named.mp4").read_bytes() != plain


def test_an_unknown_shipped_lora_fails_with_the_names(
    client: Client, clip_url: str, named: Path
) -> None:
    """The job's error lists what the open checkpoint has."""
    loras = [{"path": "rotoscope://loras/nothing"}]
    body = {**QUICK, "prompt": "a garden", "video_url": clip_url, "loras": loras}

    result = client.wait(client.submit(body).request_id, poll_s=0.05)

    assert result.status == "failed"
    assert result.error is not None
    assert (result.error.code, result.error.field) == ("lora_download_error", "loras.0.path")
    assert "camera_jib_up" in result.error.message


def garbage(kind: str) -> Callable[[HttpsSite, Path], str]:
    """Serve something that is no usable video; its URL."""

    def serve(web: HttpsSite, folder: Path) -> str:
        return web.serve_bytes(f"/{kind.replace(' ', '-')}", CONTENT[kind](folder))

    return serve


def truncated(folder: Path) -> bytes:
    flat = [np.full((48, 64, 3), shade, np.uint8) for shade in range(40)]
    return write_video(folder / "v.mp4", flat).read_bytes()[:-500]


def huge(folder: Path) -> bytes:
    """A small file whose pictures claim to be more than a decoder here will look at."""
    return make_claiming(folder / "huge.avi", (16000, 16000)).read_bytes()


def sound_alone(folder: Path) -> bytes:
    path = folder / "a.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=24000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 24000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 24000, 0, Fraction(1, 24000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


CONTENT: dict[str, Callable[[Path], bytes]] = {
    "text": lambda _: b"this is not a video\n" * 20,
    "empty": lambda _: b"",
    "truncated": truncated,
    "sound alone": sound_alone,
    "16k": huge,
}


def claims_120_mb(web: HttpsSite, _: Path) -> str:
    def answer(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "120000000")
        request.end_headers()

    return web.serve("/large", answer)


BAD_VIDEOS: dict[str, tuple[Callable[[HttpsSite, Path], str], str]] = {
    "404": (lambda web, _: web.serve_bytes("/gone", b"", 404), "file_download_error"),
    "a redirect inside": (
        lambda web, _: web.redirect("/r", "https://10.0.0.1/v.mp4"),
        "file_download_error",
    ),
    "a text file": (garbage("text"), "unsupported_video_format"),
    "an empty file": (garbage("empty"), "unsupported_video_format"),
    "a truncated mp4": (garbage("truncated"), "unsupported_video_format"),
    "sound alone": (garbage("sound alone"), "unsupported_video_format"),
    "120 MB": (claims_120_mb, "file_too_large"),
    "16k x 16k": (garbage("16k"), "video_too_large"),
}


@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_a_bad_video_fails_its_own_job_alone(
    http: httpx2.Client, client: Client, web: HttpsSite, tmp_path: Path, kind: str
) -> None:
    """With its documented code, the field and a sentence, in both answers."""
    serve, code = BAD_VIDEOS[kind]
    body = {**QUICK, "prompt": "a garden", "video_url": serve(web, tmp_path), "loras": []}

    request_id = client.submit(body).request_id
    result = client.wait(request_id, poll_s=0.05)

    assert result.status == "failed"
    assert result.output is None
    assert result.error
    assert (result.error.code, result.error.field) == (code, "video_url")
    assert len(result.error.message) > 20
    status = http.get(f"/v1/requests/{request_id}/status").json()
    assert status["status"] == "completed"
    assert status["error"]["code"] == code


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04" + b"\0" * 100, "pickle"),
        (b"\x80\x04\x95" + b"\0" * 100, "pickle"),
        ({"diffusion_model.double_blocks.0.img": 64}, "none of its 1 layers"),
    ],
    ids=["a zip pickle", "a bare pickle", "for another model"],
)
def test_a_bad_lora_fails_its_own_job_alone(
    client: Client, web: HttpsSite, clip_url: str, tmp_path: Path, content: Any, reason: str
) -> None:
    """Before any step is computed, with the entry it is about."""
    if isinstance(content, dict):
        ((layer, width),) = content.items()
        path = tmp_path / "lora.safetensors"
        matrices = {"A": torch.ones(2, width), "B": torch.ones(width, 2)}
        save_file({f"{layer}.lora_{name}.weight": one for name, one in matrices.items()}, path)
        content = path.read_bytes()
    url = web.serve_bytes("/lora.safetensors", content)
    body = {**QUICK, "prompt": "a", "video_url": clip_url, "loras": [{"path": url}]}

    result = client.wait(client.submit(body).request_id, poll_s=0.05)

    assert result.error
    assert (result.error.code, result.error.field) == ("lora_incompatible", "loras.0.path")
    assert reason in result.error.message


def test_after_all_that_it_still_works(
    client: Client, clip_url: str, web: HttpsSite, tmp_path: Path
) -> None:
    """The worker that met a bad job runs the good one behind it."""
    gone = web.serve_bytes("/gone-again", b"", 404)
    good = {**QUICK, "prompt": "a garden", "video_url": clip_url, "loras": []}

    bad_id = client.submit({**good, "video_url": gone}).request_id
    made = make(client, tmp_path, good)

    assert client.result(bad_id).status == "failed"
    assert made

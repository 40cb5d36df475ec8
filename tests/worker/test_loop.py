"""One worker's jobs, each to its one end, against a server that keeps count."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import httpx2
import numpy as np
import pytest

from rotoscope.errors import OperatorError
from rotoscope.media.clip import Clip, Frames, Size
from rotoscope.media.decode import probe
from rotoscope.media.encode import encode
from rotoscope.preprocess import control, weights
from rotoscope.schema.output import Adjustment, ControlFile, Manifest, Media, PreprocessorFacts
from rotoscope.schema.worker import Assignment
from rotoscope.settings import Settings
from rotoscope.worker import loop
from rotoscope.worker.loop import do_job, do_jobs
from rotoscope.worker.run import Bench
from rotoscope.worker.stop import Stop
from tests.worker.stand_in_model import StandIn
from tests.worker.stand_ins import Server, make_job

SMALL = {
    "video_url": "rotoscope://uploads/v",
    "video_size": {"width": 64, "height": 64},
    "num_frames": 9,
    "match_video_length": False,
    "video_quality": "low",
}
ENDS = ("succeed", "fail", "release", "stop")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second of moving colour."""
    folder = tmp_path_factory.mktemp("clip")
    ramp_THW = np.add.outer(np.arange(12) * 8, np.add.outer(np.arange(48), np.arange(64)))
    frames_THWC = np.stack([ramp_THW, ramp_THW // 2, 255 - ramp_THW], axis=-1).astype(np.uint8)
    made = encode(Clip(frames_THWC, Fraction(12)), quality="low", into=folder)
    return made.path.read_bytes()


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def bench(server: Server, clip: bytes, tmp_path: Path, stop: Stop) -> Iterator[Bench]:
    server.uploads["v"] = clip
    with server.connect(stop.event) as api:
        yield Bench(StandIn(tmp_path / "gate"), api, Settings(data_dir=tmp_path / "data"))


@pytest.fixture
def do(bench: Bench, tmp_path: Path, stop: Stop) -> Callable[[Assignment], None]:
    """Do one job in a folder that is empty before and after."""
    folder = tmp_path / "jobs"
    folder.mkdir()

    def run(job: Assignment) -> None:
        do_job(job, bench, folder, stop)
        assert not list(folder.iterdir())

    return run


Do = Callable[[Assignment], None]


def ends(server: Server) -> list[str]:
    return [verb for verb, _ in server.calls if verb in ENDS]


def test_a_job_becomes_a_stored_video(server: Server, do: Do, tmp_path: Path) -> None:
    """Of the planned size, rate and length, with its facts beside it."""
    do(make_job(**SMALL, prompt="a garden", seed=7))

    assert ends(server) == ["succeed"]
    (told,) = server.sent("succeed")
    assert told["file"] in server.files
    media = Media.model_validate(told["media"])
    assert (media.width, media.height, media.frames, media.fps) == (64, 64, 9, "12")
    stored = tmp_path / "stored.mp4"
    stored.write_bytes(server.files[str(told["file"])])
    assert probe(stored).fps == 12
    manifest = Manifest.model_validate(told["manifest"])
    assert (manifest.prompt, manifest.seed, manifest.frames) == ("a garden", 7, 9)
    assert {"rotoscope", "torch", "diffusers", "transformers", "av"} <= set(manifest.versions)
    assert manifest.input == make_job(**SMALL, prompt="a garden", seed=7).input.model_dump(
        mode="json"
    )


def test_seconds_are_reported_for_each_stage(server: Server, do: Do) -> None:
    """Those of the model among them."""
    do(make_job(**SMALL))
    metrics = server.sent("succeed")[0]["metrics"]
    assert isinstance(metrics, dict)
    assert {"fetch", "read", "denoise", "refine", "encode", "store", "total"} <= metrics.keys()


def test_a_control_video_reaches_the_model_and_is_stored(
    server: Server, bench: Bench, do: Do, tmp_path: Path
) -> None:
    """Beside the result, at the plan's size and rate; the manifest says what made it."""
    do(make_job(**SMALL, preprocessor="canny", ic_lora="none"))

    (told,) = server.sent("succeed")
    shown = ControlFile.model_validate(told["control"])
    stored = tmp_path / "control.mp4"
    stored.write_bytes(server.files[shown.file])
    assert told["file"] != shown.file
    assert (probe(stored).size, probe(stored).fps) == (Size(64, 64), 12)
    assert (shown.media.frames, shown.media.audio) == (9, False)
    assert isinstance(bench.model, StandIn)
    (seen_THWC,) = bench.model.sources
    assert seen_THWC is not None
    assert set(np.unique(seen_THWC)) <= {0, 255}
    manifest = Manifest.model_validate(told["manifest"])
    assert manifest.preprocessor == PreprocessorFacts(name="canny", model="canny-100-200")


def test_preprocessing_is_a_stage(server: Server, bench: Bench, do: Do) -> None:
    """Before those of the model; its seconds are told."""
    do(make_job(**SMALL, preprocessor="canny", ic_lora="none"))
    (told,) = server.sent("succeed")
    assert isinstance(told["metrics"], dict)
    stages = list(told["metrics"])
    assert stages[: stages.index("text") + 1] == ["fetch", "read", "preprocess", "text"]


def test_a_warning_of_a_preprocessor_is_told(server: Server, do: Do) -> None:
    """With the result's others."""
    do(make_job(**SMALL, preprocessor="depth", ic_lora="none"))
    (told,) = server.sent("succeed")
    assert isinstance(told["warnings"], list)
    assert "preprocessor" in [warning["field"] for warning in told["warnings"]]


def test_a_preprocessor_without_its_model_fails_the_job(
    server: Server, do: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its field and a code of its own; nothing is generated."""
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    do(make_job(**SMALL, preprocessor="pose", ic_lora="none"))
    (told,) = server.sent("fail")
    assert isinstance(told["error"], dict)
    assert (told["error"]["code"], told["error"]["field"]) == (
        "preprocessor_unavailable", "preprocessor",
    )  # fmt: skip


def test_a_worker_that_ends_stops_preprocessing(
    server: Server, bench: Bench, do: Do, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the frames at hand: the job is handed back, and the model is not called."""

    def edges(frames_THWC: Frames) -> Frames:
        stop.event.set()
        return frames_THWC

    monkeypatch.setattr(control, "edges", edges)
    do(make_job(**SMALL, preprocessor="canny", ic_lora="none"))
    assert ends(server) == ["release"]
    assert isinstance(bench.model, StandIn)
    assert bench.model.sources == []


def test_an_image_reaches_the_model_at_the_planned_size(
    server: Server, bench: Bench, do: Do, tmp_path: Path
) -> None:
    """As the first frame."""
    from PIL import Image  # noqa: PLC0415 - this test alone

    Image.new("RGB", (200, 100), (255, 0, 0)).save(tmp_path / "i.png")
    server.uploads["i"] = (tmp_path / "i.png").read_bytes()
    do(make_job(**SMALL, image_url="rotoscope://uploads/i"))

    assert ends(server) == ["succeed"]
    assert isinstance(bench.model, StandIn)
    (image_HWC,) = bench.model.images
    assert image_HWC is not None
    assert image_HWC.shape == (64, 64, 3)


def test_without_strength_the_source_is_not_read(server: Server, do: Do) -> None:
    """The model gets none of it, and the job succeeds."""
    do(make_job(**SMALL, video_strength=0))
    assert ends(server) == ["succeed"]


def test_the_manifest_holds_no_data_uri(server: Server, do: Do) -> None:
    """Only its hash: the file itself is the caller's to keep."""
    content = server.uploads["v"]
    uri = f"data:video/mp4;base64,{b64encode(content).decode()}"
    do(make_job(**{**SMALL, "video_url": uri}))

    (told,) = server.sent("succeed")
    manifest = Manifest.model_validate(told["manifest"])
    assert manifest.input
    assert manifest.source_sha256 == hashlib.sha256(content).hexdigest()
    assert manifest.input["video_url"] == f"sha256:{manifest.source_sha256}"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"prompt": "raise"}, "internal_error"),
        ({"prompt": "memory"}, "out_of_memory"),
        ({"prompt": "vast"}, "out_of_memory"),
        ({"video_url": "rotoscope://uploads/text"}, "unsupported_video_format"),
        ({"video_url": "rotoscope://uploads/gone"}, "file_download_error"),
        ({"loras": [{"path": "/etc/passwd"}]}, "lora_download_error"),
    ],
)
def test_a_job_that_raises_fails_and_the_next_one_runs(
    server: Server, do: Do, fields: dict[str, object], code: str
) -> None:
    """With its documented code and nothing internal."""
    server.uploads["text"] = b"this is not a video\n" * 100
    do(make_job(**(SMALL | fields)))
    do(make_job(**SMALL))

    assert ends(server) == ["fail", "succeed"]
    error = server.sent("fail")[0]["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert "secret" not in str(error["message"])


def test_a_lost_lease_ends_the_generation_silently(server: Server, do: Do) -> None:
    """Nothing is told about a job that is no longer this worker's."""
    server.will_answer("heartbeat", *[httpx2.Response(409)] * 9)
    do(make_job(**SMALL, prompt="gate"))
    assert ends(server) == []


def test_a_cancelled_job_stops_and_the_next_one_runs(server: Server, do: Do) -> None:
    """At its next step, with nothing told but that it stopped."""
    server.will_answer("heartbeat", httpx2.Response(200, json={"cancelling": True}))
    do(make_job(**SMALL, prompt="gate"))
    do(make_job(**SMALL))
    assert ends(server) == ["stop", "succeed"]
    jpeg = b"\xff\xd8"
    assert len([file for file in server.files.values() if not file.startswith(jpeg)]) == 1


def test_a_draining_worker_finishes_its_job_and_claims_no_more(
    server: Server, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given time, the running job is not handed back."""
    server.jobs.extend([make_job(**SMALL), make_job(**SMALL)])
    stop = Stop(drain_s=1000)
    usual = server.handle

    def then_drain(request: httpx2.Request) -> httpx2.Response:
        if "/files/" in request.url.path:
            stop.drain()
        return usual(request)

    monkeypatch.setattr(server, "handle", then_drain)
    with server.connect(stop.event) as api:
        do_jobs(Bench(bench.model, api, bench.settings), tmp_path, stop)
    assert ends(server) == ["succeed"]
    assert len(server.jobs) == 1


def test_a_worker_tells_which_loras_it_has_at_hand(
    server: Server, bench: Bench, tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its last jobs; a job without any adds nothing."""
    told = [make_job(**SMALL).model_copy(update={"affinity": word}) for word in ("a", "", "b")]
    server.jobs.extend(told)
    usual = server.handle

    def then_stop(request: httpx2.Request) -> httpx2.Response:
        if not server.jobs and len(ends(server)) == len(told):
            stop.event.set()
        return usual(request)

    monkeypatch.setattr(server, "handle", then_stop)
    with server.connect(stop.event) as api:
        api.facts = lambda: {"device": "cpu"}
        do_jobs(Bench(bench.model, api, bench.settings), tmp_path, stop)
    claims = server.sent("claim")
    assert [claim["loaded"] for claim in claims] == [[], ["a"], ["a"], ["a", "b"]]
    assert claims[0]["facts"] == {"device": "cpu"}


def test_a_worker_that_ends_hands_its_job_back(server: Server, do: Do, stop: Stop) -> None:
    """At the next step, without a failure."""
    stop.event.set()
    do(make_job(**SMALL))
    assert ends(server) == ["release"]


def test_a_result_that_the_server_refuses_is_a_failure(server: Server, do: Do) -> None:
    """The worker goes on; the job does not wait for its lease to end."""
    server.will_answer("succeed", httpx2.Response(422, text="no such file"))
    do(make_job(**SMALL))
    assert ends(server) == ["succeed", "fail"]


def test_a_broken_gpu_ends_the_process_after_the_job(
    server: Server, bench: Bench, do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job fails, and only a new process takes another."""

    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(bench.model, "generate", broken)
    with pytest.raises(loop.DeviceLostError):
        do(make_job(**SMALL))
    assert ends(server) == ["fail"]


def test_jobs_follow_each_other_until_the_end(
    server: Server, bench: Bench, tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away in between only delays them."""
    monkeypatch.setattr(loop, "PAUSE_WHEN_AWAY_S", 0.001)
    server.jobs.extend([make_job(**SMALL), make_job(**SMALL)])
    server.will_answer("claim", httpx2.ConnectError("refused"), httpx2.Response(503))
    usual = server.handle

    def then_stop(request: httpx2.Request) -> httpx2.Response:
        if not server.jobs and len(ends(server)) == 2:
            stop.event.set()
        return usual(request)

    monkeypatch.setattr(server, "handle", then_stop)
    with server.connect(stop.event) as api:
        do_jobs(Bench(bench.model, api, bench.settings), tmp_path, stop)

    assert ends(server) == ["succeed", "succeed"]


def test_a_refused_key_ends_the_worker(
    server: Server, bench: Bench, tmp_path: Path, stop: Stop
) -> None:
    """With the operator's sentence: no job can come."""
    server.will_answer("claim", httpx2.Response(401))
    with pytest.raises(OperatorError, match="key"):
        do_jobs(bench, tmp_path, stop)


def test_what_the_submit_was_warned_of_stays_told(server: Server, do: Do) -> None:
    """Together with the plan's own warnings, each of them once."""
    first = Adjustment(field="X-Priority", asked="normal", used="low", why="of this key")
    job = make_job(**SMALL | {"num_frames": 12}).model_copy(update={"warnings": (first, first)})

    do(job)

    (told,) = server.sent("succeed")
    warned = [Adjustment.model_validate(one) for one in told["warnings"]]  # type: ignore[attr-defined]
    assert warned[0] == first
    assert [one.field for one in warned].count("X-Priority") == 1
    assert "num_frames" in [one.field for one in warned]

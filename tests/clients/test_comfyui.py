"""The ComfyUI nodes, loaded and called as ComfyUI does it, against a server process.

ComfyUI is on no package index, so what it asks of a node is written down here: how it imports a
folder of nodes, what it reads from a class, and what it passes to the function.
"""

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import av
import pytest
import torch
from torch import Tensor

from rotoscope.errors import RotoscopeError
from rotoscope.schema.catalogue import MODELS
from rotoscope.schema.input import MODEL_ID
from tests.clients.host import Host, working

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
SAMPLE = Path(str(files("rotoscope"))) / "data" / "sample.mp4"
BY_TENSOR = {"video_url", "image_url", "loras"}
WIDGETS = {"INT", "FLOAT", "BOOLEAN", "STRING"}
SOCKETS = {"IMAGE", "AUDIO", "ROTOSCOPE_LORAS"}


class InterruptedInComfyError(Exception):
    """What ComfyUI raises in a node when its user interrupts."""


class Comfy:
    """The two modules of ComfyUI that a node may use."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []
        self.interrupted = Event()
        self.interrupt_at: float = 2
        """The share of the work at which the user interrupts; 2 is never."""

    def modules(self) -> dict[str, ModuleType]:
        comfy, utils = ModuleType("comfy"), ModuleType("comfy.utils")
        management = ModuleType("comfy.model_management")
        told = self

        class ProgressBar:
            def __init__(self, total: int) -> None:
                self.total = total

            def update_absolute(self, value: int, total: int | None = None) -> None:
                told.shown.append((value, total or self.total))
                if value / (total or self.total) >= told.interrupt_at:
                    told.interrupted.set()

        def throw() -> None:
            if told.interrupted.is_set():
                raise InterruptedInComfyError

        utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
        management.throw_exception_if_processing_interrupted = throw  # type: ignore[attr-defined]
        comfy.utils, comfy.model_management = utils, management  # type: ignore[attr-defined]
        return {"comfy": comfy, "comfy.utils": utils, "comfy.model_management": management}


@pytest.fixture
def comfy() -> Comfy:
    return Comfy()


@pytest.fixture
def nodes(comfy: Comfy, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The classes by name, imported as a folder in custom_nodes is."""
    for name, module in comfy.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("ROTOSCOPE_KEY", host.key)
    monkeypatch.setenv("SSL_CERT_FILE", str(host.tls.ca_file))
    name = "custom_nodes_x_rotoscope"
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    assert module.NODE_DISPLAY_NAME_MAPPINGS.keys() == module.NODE_CLASS_MAPPINGS.keys()
    yield module.NODE_CLASS_MAPPINGS
    for loaded in [key for key in sys.modules if key.startswith(name)]:
        del sys.modules[loaded]


def execute(node: type, **given: Any) -> tuple[Any, ...]:
    """Call a node as ComfyUI does: a new object, inputs by name, defaults for the widgets."""
    asked = node.INPUT_TYPES()  # type: ignore[attr-defined]
    defaults = {
        name: options[0]["default"] for name, (_, *options) in asked["required"].items() if options
    }
    known = asked["required"].keys() | asked.get("optional", {}).keys()
    assert given.keys() <= known
    assert asked["required"].keys() <= defaults.keys() | given.keys()
    answer: tuple[Any, ...] = getattr(node(), node.FUNCTION)(**defaults | given)  # type: ignore[attr-defined]
    assert isinstance(answer, tuple)
    assert len(answer) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)  # type: ignore[attr-defined]
    return answer


def gradient(frames: int, height: int, width: int) -> Tensor:
    """Frames of shape BHWC whose colours run across, and move."""
    across = torch.linspace(0, 1, width).expand(frames, height, width)
    down = torch.linspace(0, 1, height)[None, :, None].expand(frames, height, width)
    moving = torch.linspace(0, 1, frames)[:, None, None].expand(frames, height, width)
    return torch.stack([across, down, moving], dim=-1)


def test_each_node_is_one_that_comfyui_takes(nodes: dict[str, Any]) -> None:
    for node in nodes.values():
        assert callable(getattr(node, node.FUNCTION))
        assert isinstance(node.CATEGORY, str)
        groups = node.INPUT_TYPES()
        assert groups.keys() <= {"required", "optional", "hidden"}
        for group in groups.values():
            for kind, *options in group.values():
                _check_input(kind, *options)


def _check_input(kind: Any, options: dict[str, Any] | None = None) -> None:
    """One entry of INPUT_TYPES: a socket, a widget whose default is within bounds, or a choice."""
    if isinstance(kind, list):
        assert options
        assert options["default"] in kind
    elif kind in SOCKETS:
        assert options is None
    else:
        assert kind in WIDGETS
        assert options
        if kind in {"INT", "FLOAT"}:
            assert options["min"] <= options["default"] <= options["max"]


def test_the_widgets_are_those_of_the_published_schema(nodes: dict[str, Any]) -> None:
    asked = nodes["RotoscopeVideoToVideo"].INPUT_TYPES()["required"]
    schema = MODELS[MODEL_ID].input_schema
    assert schema

    plain = [name for name in schema["properties"] if name not in BY_TENSOR]
    assert [name for name in asked if name in schema["properties"]] == plain
    assert asked["num_frames"][1] | {"min": 9, "max": 481, "default": 121} == asked["num_frames"][1]
    assert asked["video_size"][0][:2] == ["auto", "square_hd"]
    assert asked["generate_audio"] == (
        "BOOLEAN",
        {"default": True, "tooltip": "Make sound with the picture."},
    )
    assert not any("key" in name for name in asked)


def test_frames_go_out_and_frames_and_sound_come_back(
    nodes: dict[str, Any], comfy: Comfy, host: Host, tmp_path: Path
) -> None:
    images_BHWC = gradient(frames=12, height=51, width=65)
    (loras,) = execute(nodes["RotoscopeLora"], path="rotoscope://loras/style_comic", scale=0.5)
    (loras,) = execute(
        nodes["RotoscopeLora"], path="me/other", weight_name="a.safetensors", loras=loras
    )

    with working(host, content=SAMPLE.read_bytes(), media={"fps": "30000/1001"}) as worker:
        made_BHWC, audio, fps, manifest = execute(
            nodes["RotoscopeVideoToVideo"],
            images=images_BHWC,
            source_fps=12.0,
            first_frame=images_BHWC[:1],
            loras=loras,
            prompt="a red bicycle",
            server=host.https,
        )

    _check_made(made_BHWC, audio)
    assert fps == pytest.approx(29.97, abs=0.001)
    assert json.loads(manifest)["prompt"] == "a red bicycle"
    assert comfy.shown == sorted(comfy.shown)
    assert comfy.shown[0] == (333, 1000)
    (sent,) = worker.inputs
    assert sent["loras"][0] == {
        "path": "rotoscope://loras/style_comic",
        "scale": 0.5,
        "weight_name": None,
    }
    assert sent["loras"][1]["weight_name"] == "a.safetensors"
    arrived_BHWC = _uploaded(host, sent["video_url"], tmp_path)
    assert arrived_BHWC.shape == images_BHWC.shape
    assert (arrived_BHWC - images_BHWC).abs().mean() < 0.01
    first_BHWC = _uploaded(host, sent["image_url"], tmp_path)
    assert torch.equal((first_BHWC[0] * 255).round(), (images_BHWC[0] * 255).round())


def _check_made(made_BHWC: Tensor, audio: dict[str, Any]) -> None:
    """What came back is the sample clip, as it lies in the package."""
    with av.open(str(SAMPLE)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        sounds = bool(container.streams.audio)
    assert made_BHWC.dtype == torch.float32
    assert made_BHWC.shape == (len(frames), *frames[0].shape)
    assert torch.equal((made_BHWC[3] * 255).round().byte(), torch.from_numpy(frames[3]))
    waveform_BCT = audio["waveform"]
    assert waveform_BCT.ndim == 3
    assert waveform_BCT.shape[0] == 1
    assert bool(waveform_BCT.abs().max() > 0) is sounds


def _uploaded(host: Host, uri: str, folder: Path) -> Tensor:
    """The frames of an upload, as the worker gets it."""
    upload_id = uri.rpartition("/")[2]
    with host.http(host.worker_key) as http:
        answer = http.get(f"/v1/worker/uploads/{upload_id}")
        assert answer.status_code == 200, answer.text
    file = folder / upload_id
    file.write_bytes(answer.content)
    with av.open(str(file)) as container:
        frames = [
            torch.from_numpy(frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]
    return torch.stack(frames).float() / 255


def test_an_interrupt_cancels_what_is_queued(
    nodes: dict[str, Any], comfy: Comfy, host: Host
) -> None:
    comfy.interrupted.set()

    with pytest.raises(InterruptedInComfyError):
        restyle_two_frames(nodes, host)

    with host.http(host.worker_key) as http:
        claim = http.post("/v1/worker/claim", json={"worker_id": "by-hand", "wait_s": 0})
    assert claim.status_code == 204


def test_an_interrupt_stops_what_runs(nodes: dict[str, Any], comfy: Comfy, host: Host) -> None:
    comfy.interrupt_at = 0.3

    with working(host, steps=200) as worker:
        with pytest.raises(InterruptedInComfyError):
            restyle_two_frames(nodes, host)
        while not worker.stopped:
            time.sleep(0.1)

    assert host.state(worker.stopped[0]) == "cancelled"


def restyle_two_frames(nodes: dict[str, Any], host: Host) -> None:
    execute(
        nodes["RotoscopeVideoToVideo"],
        images=gradient(frames=2, height=16, width=16),
        source_fps=8.0,
        prompt="a red bicycle",
        server=host.https,
    )


def test_a_failed_job_raises_its_sentence(nodes: dict[str, Any], host: Host) -> None:
    with working(host) as worker:
        worker.failing = True
        with pytest.raises(RotoscopeError, match=r"There is no such file\."):
            restyle_two_frames(nodes, host)

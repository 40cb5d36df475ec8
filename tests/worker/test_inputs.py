"""Where a job's files come from."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from rotoscope.errors import FileDownloadError, FileTooLargeError, LoraDownloadError
from rotoscope.settings import Settings
from rotoscope.worker.api import WorkerApi
from rotoscope.worker.inputs import Fetcher, fetch_inputs, local_lora
from tests.worker.stand_ins import Server, make_input

MakeFetcher = Callable[[WorkerApi], Fetcher]


@pytest.fixture
def loras(tmp_path: Path) -> Path:
    """The folder that the operator listed, with one file in it."""
    folder = tmp_path / "loras"
    folder.mkdir()
    (folder / "style.safetensors").write_bytes(b"style")
    return folder


@pytest.fixture
def make_fetcher(tmp_path: Path, loras: Path) -> MakeFetcher:
    own = tmp_path / "job"
    own.mkdir()
    settings = Settings(
        data_dir=tmp_path / "data", lora_folders=(loras,), max_video_bytes=100, max_lora_bytes=100
    )
    return lambda api: Fetcher(settings, api, own)


def test_everything_named_is_brought_with_its_hash(
    server: Server, make_fetcher: MakeFetcher, loras: Path
) -> None:
    """Uploads are copied, local LoRAs read where they lie, one of scale 0 is left out."""
    server.uploads |= {"v": b"video", "i": b"image", "l": b"lora"}
    request = make_input(
        video_url="rotoscope://uploads/v",
        image_url="rotoscope://uploads/i",
        loras=[
            {"path": "rotoscope://uploads/l", "scale": 0.5},
            {"path": "https://h.test/never-fetched.safetensors", "scale": 0},
            {"path": str(loras / "style.safetensors"), "scale": 2},
        ],
    )
    with server.connect() as api:
        inputs = fetch_inputs(request, make_fetcher(api))

    assert inputs.video.path.read_bytes() == b"video"
    assert inputs.video.sha256 == hashlib.sha256(b"video").hexdigest()
    assert inputs.image
    assert inputs.image.path.read_bytes() == b"image"
    uploaded, local = inputs.loras
    assert (uploaded.scale, uploaded.field, uploaded.path.suffix) == (
        0.5,
        "loras.0.path",
        ".safetensors",
    )
    assert (local.path, local.scale) == (loras / "style.safetensors", 2)
    assert local.sha256 == hashlib.sha256(b"style").hexdigest()


def test_an_upload_that_is_gone_is_named_by_its_field(
    server: Server, make_fetcher: MakeFetcher
) -> None:
    """A LoRA's has the LoRA's code."""
    with server.connect() as api:
        fetcher = make_fetcher(api)
        with pytest.raises(FileDownloadError) as video:
            fetch_inputs(make_input(video_url="rotoscope://uploads/x"), fetcher)
        server.uploads["v"] = b"video"
        with pytest.raises(LoraDownloadError) as lora:
            fetch_inputs(
                make_input(
                    video_url="rotoscope://uploads/v", loras=[{"path": "rotoscope://uploads/x"}]
                ),
                fetcher,
            )
    assert video.value.field == "video_url"
    assert lora.value.field == "loras.0.path"


def test_uploads_obey_the_limits(server: Server, make_fetcher: MakeFetcher) -> None:
    """As downloads do."""
    server.uploads["v"] = b"x" * 101
    with server.connect() as api, pytest.raises(FileTooLargeError):
        fetch_inputs(make_input(video_url="rotoscope://uploads/v"), make_fetcher(api))


def test_private_addresses_are_refused(server: Server, make_fetcher: MakeFetcher) -> None:
    """Videos and LoRAs alike go through the guarded fetch, each with its own code."""
    with server.connect() as api:
        fetcher = make_fetcher(api)
        with pytest.raises(FileDownloadError):
            fetcher.video("https://127.0.0.1/v.mp4")
        with pytest.raises(LoraDownloadError):
            fetcher.lora(make_input(loras=[{"path": "https://[::1]/l.safetensors"}]).loras[0], 0)


def test_a_local_lora_must_lie_in_a_listed_folder(tmp_path: Path, loras: Path) -> None:
    """However it is written, and wherever links lead."""
    secret = tmp_path / "secret.safetensors"
    secret.touch()
    (loras / "link.safetensors").symlink_to(secret)
    inside = tmp_path / "alias"
    inside.symlink_to(loras)

    assert local_lora(str(inside / "style.safetensors"), (loras,), "f").is_file()
    for path in (secret, loras / ".." / secret.name, loras / "link.safetensors"):
        with pytest.raises(LoraDownloadError, match="lora_folders"):
            local_lora(str(path), (loras,), "loras.0.path")


def test_whether_a_file_outside_exists_is_not_told(tmp_path: Path, loras: Path) -> None:
    """The same sentence for one that is there and one that is not; inside, absence is told."""
    (tmp_path / "there").touch()
    said = []
    for name in ("there", "gone!"):
        with pytest.raises(LoraDownloadError) as error:
            local_lora(str(tmp_path / name), (loras,), "f")
        said.append(str(error.value).replace(name, "…"))
    assert said[0] == said[1]
    with pytest.raises(LoraDownloadError, match="There is no file"):
        local_lora(str(loras / "gone.safetensors"), (loras,), "f")

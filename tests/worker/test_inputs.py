"""Where a job's files come from."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rotoscope.errors import FileDownloadError, FileTooLargeError, LoraDownloadError
from rotoscope.generation import weights
from rotoscope.generation.weights import CHECKPOINTS, folder_of
from rotoscope.schema.hub import HubReference
from rotoscope.schema.input import Lora
from rotoscope.settings import Settings
from rotoscope.worker.api import WorkerApi
from rotoscope.worker.inputs import Fetcher, fetch_inputs, local_lora
from rotoscope.worker.lora_cache import CachedLora, LoraCache
from rotoscope.worker.lora_sources import LoraSources
from tests.https_site import https_site
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
    return lambda api: Fetcher(settings, api, own, CHECKPOINTS["mini"])


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
            fetcher.lora(Lora(path="https://[::1]/l.safetensors"), "loras.0.path")


def test_ten_downloaded_loras_are_held_for_the_job(server: Server, tmp_path: Path) -> None:
    """At scales from 0 to 4; what the job uses is not evicted, however small the quota."""
    server.uploads["v"] = b"video"
    job = tmp_path / "job"
    job.mkdir()
    with https_site(tmp_path) as site, server.connect() as api:
        settings = Settings(
            data_dir=tmp_path / "data",
            lora_cache_bytes=0,
            fetch_private_hosts=("127.0.0.1",),
            fetch_ca_file=site.ca_file,
        )
        entries = [
            {"path": site.serve_bytes(f"/{i}", b"lora %d" % i), "scale": i * 4 / 9}
            for i in range(10)
        ]
        request = make_input(video_url="rotoscope://uploads/v", loras=entries)
        found = fetch_inputs(request, Fetcher(settings, api, job, CHECKPOINTS["mini"])).loras

    assert site.asked == [f"/{i}" for i in range(1, 10)]
    assert [lora.path.read_bytes() for lora in found] == [b"lora %d" % i for i in range(1, 10)]
    assert (found[0].scale, found[-1].scale) == (4 / 9, 4)
    assert [entry.in_use for entry in LoraCache.of(settings).list()] == [True] * 9


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


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of LoRAs that come with mini, in place of the package's."""
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "package")
    folder = tmp_path / "package/mini/loras"
    folder.mkdir(parents=True)
    for name in ("ic_canny", "camera_dolly_in", "style_comic"):
        (folder / f"{name}.safetensors").write_bytes(name.encode())
    return folder


def test_names_become_files_of_the_checkpoint(
    server: Server, make_fetcher: MakeFetcher, shipped: Path
) -> None:
    """An IC-LoRA, a movement and a shipped style, each at its scale and under its field."""
    server.uploads["v"] = b"video"
    request = make_input(
        video_url="rotoscope://uploads/v",
        loras=[{"path": "rotoscope://loras/style_comic", "scale": 2}],
        ic_lora="canny",
        ic_lora_scale=0.5,
        camera_lora="dolly_in",
        camera_lora_scale=0.25,
    )
    with server.connect() as api:
        style, control, camera = fetch_inputs(request, make_fetcher(api)).loras

    assert (style.path, style.scale) == (shipped / "style_comic.safetensors", 2)
    assert (style.ref, style.field) == ("rotoscope://loras/style_comic", "loras.0.path")
    assert (control.path, control.scale) == (shipped / "ic_canny.safetensors", 0.5)
    assert (control.ref, control.field) == ("rotoscope://loras/ic_canny", "ic_lora")
    assert (camera.path, camera.scale) == (shipped / "camera_dolly_in.safetensors", 0.25)
    assert camera.field == "camera_lora"
    assert camera.sha256 == hashlib.sha256(b"camera_dolly_in").hexdigest()
    assert [one.in_context for one in (style, control, camera)] == [False, True, False]


def test_a_checkpoints_own_folder_may_hold_loras(
    server: Server, make_fetcher: MakeFetcher, shipped: Path, tmp_path: Path
) -> None:
    """They come before the package's of the same name."""
    own = folder_of("mini", Settings(data_dir=tmp_path / "data")) / "loras"
    own.mkdir(parents=True)
    for name in ("style_comic", "style_own"):
        (own / f"{name}.safetensors").write_bytes(b"own")
    with server.connect() as api:
        fetcher = make_fetcher(api)
        for name in ("style_comic", "style_own"):
            entry = Lora(path=f"rotoscope://loras/{name}")
            assert fetcher.lora(entry, "loras.0.path").path == own / f"{name}.safetensors"


@pytest.mark.parametrize(
    "fields",
    [
        {"ic_lora": "canny", "ic_lora_scale": 0},
        {"ic_lora": "canny", "video_strength": 0},
        {"ic_lora": "match_preprocessor"},
        {"ic_lora": "none"},
        {"camera_lora": "static", "camera_lora_scale": 0},
    ],
    ids=str,
)
def test_what_would_do_nothing_is_not_fetched(
    server: Server, make_fetcher: MakeFetcher, shipped: Path, fields: dict[str, object]
) -> None:
    """A scale of 0, an IC-LoRA without a source to look at, and no name at all."""
    server.uploads["v"] = b"video"
    request = make_input(video_url="rotoscope://uploads/v", **fields)
    with server.connect() as api:
        assert fetch_inputs(request, make_fetcher(api)).loras == ()


def test_an_unknown_name_lists_what_there_is(
    server: Server, make_fetcher: MakeFetcher, shipped: Path
) -> None:
    """Under the field that named it; names that lead elsewhere are names that are not there."""
    with server.connect() as api:
        fetcher = make_fetcher(api)
        for name in ("style_noir", "../loras/style_comic"):
            with pytest.raises(LoraDownloadError) as error:
                fetcher.lora(Lora(path=f"rotoscope://loras/{name}"), "loras.1.path")
            assert "it has camera_dolly_in, ic_canny, style_comic" in str(error.value)
            assert error.value.field == "loras.1.path"
        for file in shipped.iterdir():
            file.unlink()
        with pytest.raises(LoraDownloadError, match="none come with it"):
            fetcher.lora(Lora(path="rotoscope://loras/style_comic"), "loras.1.path")


def test_the_published_loras_come_by_their_repositories(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LTX-2 19B's, through the same cache as any; an IC-LoRA in `loras` is known as one."""
    asked: list[tuple[str, str]] = []

    def from_hub(
        _: LoraSources, reference: HubReference, __: object, *, field: str, job: Path
    ) -> tuple[CachedLora, HubReference]:
        asked.append((reference.repo, field))
        return CachedLora(tmp_path / "hub.safetensors", "0" * 64), replace(reference, revision="c")

    monkeypatch.setattr(LoraSources, "from_hub", from_hub)
    server.uploads["v"] = b"video"
    request = make_input(
        video_url="rotoscope://uploads/v",
        loras=[{"path": "Lightricks/LTX-2-19b-IC-LoRA-Detailer@main"}, {"path": "a/style"}],
        ic_lora="depth",
        camera_lora="jib_up",
    )
    with server.connect() as api:
        fetcher = Fetcher(Settings(data_dir=tmp_path), api, tmp_path, CHECKPOINTS["ltx-2-19b-dev"])
        loras = fetch_inputs(request, fetcher).loras

    assert asked == [
        ("Lightricks/LTX-2-19b-IC-LoRA-Detailer", "loras.0.path"),
        ("a/style", "loras.1.path"),
        ("Lightricks/LTX-2-19b-IC-LoRA-Depth-Control", "ic_lora"),
        ("Lightricks/LTX-2-19b-LoRA-Camera-Control-Jib-Up", "camera_lora"),
    ]
    assert [lora.in_context for lora in loras] == [True, False, True, False]
    assert {lora.origin.revision for lora in loras if lora.origin} == {"c"}

"""What fits the schema and is refused nevertheless, by field."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from rotoscope.schema.input import CameraLora, IcLora, OutputType, Preprocessor
from tests.web.conftest import BODY, SUBMIT, OpenSite, Site


def objections(site: Site, **fields: object) -> dict[str, str]:
    """Places and sentences of the refused fields; none when the job was queued."""
    answer = site.http.post(SUBMIT, json=BODY | fields, headers=site.client)
    if answer.status_code == 200:
        return {}
    assert (answer.status_code, answer.json()["error_code"]) == (422, 422001)
    return {".".join(map(str, entry["loc"][1:])): entry["msg"] for entry in answer.json()["detail"]}


def upload(site: Site, headers: dict[str, str]) -> str:
    answer = site.http.post("/v1/uploads", content=b"video", headers=headers)
    assert answer.status_code == 200
    return str(answer.json()["url"])


@pytest.mark.parametrize("name", get_args(OutputType))
def test_formats_are_taken(site: Site, name: str) -> None:
    """Every one of the schema."""
    assert objections(site, video_output_type=name) == {}


@pytest.mark.parametrize("name", get_args(Preprocessor))
def test_preprocessors_are_taken(site: Site, name: str) -> None:
    """Every one of the schema."""
    assert objections(site, preprocessor=name) == {}


def test_loras_by_name_are_taken(site: Site) -> None:
    """Every IC-LoRA and camera movement of the schema, and names of what ships."""
    for name in get_args(IcLora):
        assert objections(site, ic_lora=name) == {}
    for name in get_args(CameraLora):
        assert objections(site, camera_lora=name, camera_lora_scale=0.5) == {}
    assert objections(site, loras=[{"path": "rotoscope://loras/style_comic"}]) == {}


@pytest.mark.parametrize("name", ["", "../secret", "a/b", "a.safetensors", "x" * 101])
def test_a_shipped_lora_has_a_plain_name(site: Site, name: str) -> None:
    """It names no path; the sentence says which forms there are."""
    found = objections(site, loras=[{"path": f"rotoscope://loras/{name}"}])
    assert "rotoscope://loras/" in found["loras.0.path"]


def test_a_shipped_lora_is_no_video(site: Site) -> None:
    """Its URI is refused where a file of the caller is asked for."""
    assert list(objections(site, video_url="rotoscope://loras/style_comic")) == ["video_url"]


def test_everything_refused_is_in_one_answer(site: Site) -> None:
    """Sources and LoRAs are told together."""
    found = objections(
        site,
        video_url="https://127.0.0.1/a.mp4",
        image_url="http://169.254.169.254/latest",
        loras=[{"path": "https://example.org/a.safetensors"}, {"path": "https://[::1]/a"}],
    )
    assert list(found) == ["video_url", "image_url", "loras.1.path"]


def test_a_listed_private_host_is_allowed(open_site: OpenSite) -> None:
    """The operator may name hosts that inputs come from although they are private."""
    site = open_site(fetch_private_hosts=("127.0.0.1",))
    assert objections(site, video_url="http://127.0.0.1:9000/a.mp4") == {}


def test_data_uris_are_taken(site: Site) -> None:
    """A small file may be sent in the body itself."""
    assert objections(site, image_url="data:image/png;base64,iVBORw0KGgo=") == {}


def test_an_upload_is_taken_as_each_kind_of_source(site: Site) -> None:
    """One's own upload can be the video, the image or a LoRA."""
    uri = upload(site, site.client)
    assert objections(site, video_url=uri, image_url=uri, loras=[{"path": uri}]) == {}


def test_only_own_unexpired_uploads_are_taken(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key's, an unknown and an expired upload get the same answer."""
    foreign, own = upload(site, site.other), upload(site, site.client)
    upload_id = own.rpartition("/")[2]
    facts = site.parts.storage.upload(upload_id)
    assert facts is not None
    ended = facts.model_copy(update={"expires_at": datetime.now(UTC) - timedelta(seconds=1)})
    (tmp_path / "uploads" / f"{upload_id}.json").write_text(ended.model_dump_json())

    sentences = {
        objections(site, video_url=uri)["video_url"]
        for uri in (foreign, own, "rotoscope://uploads/" + "0" * 32, "rotoscope://elsewhere")
    }
    assert len(sentences) == 1
    assert "upload the file again" in sentences.pop()


@pytest.mark.parametrize(
    "path", ["Lightricks/LTX-2-19b-IC-LoRA-Detailer", "a/b@main", "a/b/c.safetensors"]
)
def test_hugging_face_names_are_understood(site: Site, path: str) -> None:
    """Whether the repository exists is the worker's business."""
    assert objections(site, loras=[{"path": path}]) == {}


@pytest.mark.parametrize(
    "path", ["lora", "C:\\a.safetensors", "ftp://a/b", "file:///a", "data:,x", "./a/b", "../a"]
)
def test_other_forms_are_told_what_works(site: Site, path: str) -> None:
    """What is no known form gets the list of forms."""
    [(place, sentence)] = objections(site, loras=[{"path": path}]).items()
    assert place == "loras.0.path"
    assert sentence.startswith("Give an https:// URL")


def test_local_paths_stay_in_the_listed_folders(open_site: OpenSite, tmp_path: Path) -> None:
    """A path may name a file below a listed folder, and reaches no other by dots or links."""
    listed, outside = tmp_path / "loras", tmp_path / "secret"
    listed.mkdir()
    outside.mkdir()
    (listed / "link").symlink_to(outside)
    site = open_site(lora_folders=(listed,))

    def refused(path: str) -> bool:
        return bool(objections(site, loras=[{"path": path}]))

    assert not refused(f"{listed}/film.safetensors")
    assert not refused(f"{listed}/deeper/../film.safetensors")
    assert refused(f"{listed}/../secret/film.safetensors")
    assert refused(f"{listed}/link/film.safetensors")
    assert refused(f"{outside}/film.safetensors")
    assert refused(f"{listed}s/film.safetensors")
    assert refused(f"{listed}/film\0.safetensors")


def test_without_listed_folders_no_path_is_taken(site: Site) -> None:
    """No folder is listed unless the operator did."""
    assert list(objections(site, loras=[{"path": "/etc/passwd"}])) == ["loras.0.path"]

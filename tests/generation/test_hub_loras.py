"""LoRAs by repository name, from a hub on loopback that answers as the real one does."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar, NamedTuple

import pytest

from rotoscope.errors import FileTooLargeError, LoraDownloadError
from rotoscope.generation.hub_loras import download_hub_lora, find_hub_lora
from rotoscope.schema.hub import HubReference

SHA = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "one/lora": {"README.md": b"hello", "lora.safetensors": b"weights"},
    "two/loras": {"a.safetensors": b"first", "b/c.safetensors": b"second"},
    "no/weights": {"model.bin": b"pickle"},
}


class Hub(NamedTuple):
    endpoint: str
    downloads: list[str]
    """Files that were asked for, whole."""


class Handler(BaseHTTPRequestHandler):
    """What huggingface_hub asks: a repository's files, a file's facts, the file."""

    downloads: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/"):
            self.describe(path.removeprefix("/api/models/"))
            return
        repo, _, name = path.removeprefix("/").partition(f"/resolve/{SHA}/")
        content = FILES[repo][name]
        self.send_response(200)
        self.send_header("ETag", f'"{len(content)}"')
        self.send_header("X-Repo-Commit", SHA)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.downloads.append(name)
            self.wfile.write(content)

    def describe(self, path: str) -> None:
        repo, _, revision = path.partition("/revision/")
        if repo == "gated/lora":
            self.refuse(403, "GatedRepo")
        elif repo not in FILES:
            self.refuse(404, "RepoNotFound")
        elif revision not in ("", "main", SHA):
            self.refuse(404, "RevisionNotFound")
        else:
            files = [{"rfilename": n, "size": len(c)} for n, c in FILES[repo].items()]
            self.reply(200, {"id": repo, "sha": SHA, "siblings": files})

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, {"error": code}, {"X-Error-Code": code})

    def reply(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    Handler.downloads.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield Hub(f"http://127.0.0.1:{server.server_port}", Handler.downloads)
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(
    hub: Hub, folder: Path, path: str, weight_name: str | None = None, max_bytes: int = 1000
) -> bytes:
    exact = find(hub, path, weight_name, max_bytes)
    return download_hub_lora(
        exact, into=folder, field="loras.0.path", endpoint=hub.endpoint
    ).read_bytes()


def find(
    hub: Hub, path: str, weight_name: str | None = None, max_bytes: int = 1000
) -> HubReference:
    reference = HubReference.parse(path)
    assert reference
    return find_hub_lora(
        reference,
        weight_name,
        max_bytes=max_bytes,
        field="loras.0.path",
        endpoint=hub.endpoint,
    )


def test_the_only_file_is_meant(hub: Hub, tmp_path: Path) -> None:
    """A repository with one LoRA needs no file name."""
    assert fetch(hub, tmp_path, "one/lora") == b"weights"
    assert hub.downloads == ["lora.safetensors"]


def test_a_file_tells_its_commit(hub: Hub) -> None:
    """So that the cache and the manifest can name the very file."""
    exact = find(hub, "one/lora@main")

    assert str(exact) == f"one/lora@{SHA}/lora.safetensors"
    assert HubReference.parse(str(exact)) == exact


def test_what_is_there_is_not_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    """The library sees that the file has the commit's content."""
    assert fetch(hub, tmp_path, "one/lora") == fetch(hub, tmp_path, "one/lora@main")
    assert len(hub.downloads) == 1


@pytest.mark.parametrize(
    ("path", "weight_name", "content"),
    [
        ("two/loras", "a.safetensors", b"first"),
        ("two/loras/b/c.safetensors", None, b"second"),
        (f"two/loras@{SHA}/a.safetensors", None, b"first"),
    ],
)
def test_one_of_several_is_named(
    hub: Hub, tmp_path: Path, path: str, weight_name: str | None, content: bytes
) -> None:
    """By weight_name, or in the path."""
    assert fetch(hub, tmp_path, path, weight_name) == content


@pytest.mark.parametrize(
    ("path", "weight_name", "says"),
    [
        ("two/loras", None, r"several .* a\.safetensors, b/c\.safetensors"),
        ("two/loras", "d.safetensors", "no .safetensors file d.safetensors"),
        ("no/weights", None, "no .safetensors file"),
        ("no/weights/model.bin", None, "no .safetensors file model.bin"),
        ("gated/lora", None, "gated"),
        ("not/there", None, "no repository not/there"),
        ("one/lora@v9", None, "no revision v9"),
    ],
)
def test_what_cannot_be_had_is_explained(
    hub: Hub, tmp_path: Path, path: str, weight_name: str | None, says: str
) -> None:
    """With the entry it is about; nothing is downloaded."""
    with pytest.raises(LoraDownloadError, match=says) as caught:
        fetch(hub, tmp_path, path, weight_name)

    assert caught.value.field == "loras.0.path"
    assert not caught.value.retryable
    assert hub.downloads == []


def test_too_large_a_file_is_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    """Its size is known before."""
    with pytest.raises(FileTooLargeError):
        fetch(hub, tmp_path, "one/lora", max_bytes=3)

    assert hub.downloads == []


def test_an_unreachable_hub_may_be_asked_again(tmp_path: Path) -> None:
    """A machine without a network says so, and not that the repository is missing."""
    with pytest.raises(LoraDownloadError, match="could not be fetched") as caught:
        fetch(Hub("http://127.0.0.1:9", []), tmp_path, "one/lora")

    assert caught.value.retryable

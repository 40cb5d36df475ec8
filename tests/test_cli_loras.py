"""`rotoscope loras`: the downloaded LoRAs, from the command line."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from rotoscope.schema.hub import HubReference
from rotoscope.worker.lora_cache import CachedLora
from rotoscope.worker.lora_sources import LoraSources
from tests.https_site import HttpsSite, https_site

Loras = Callable[..., Result]
SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HttpsSite]:
    with https_site(tmp_path) as site:
        yield site


@pytest.fixture
def loras(tmp_path: Path, site: HttpsSite, monkeypatch: pytest.MonkeyPatch) -> Loras:
    monkeypatch.setenv("ROTOSCOPE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("ROTOSCOPE_FETCH_PRIVATE_HOSTS", "127.0.0.1")
    monkeypatch.setenv("ROTOSCOPE_FETCH_CA_FILE", str(site.ca_file))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["loras", *arguments], env={"COLUMNS": "200"})

    return run


def test_a_lora_is_fetched_listed_pinned_and_deleted(loras: Loras, site: HttpsSite) -> None:
    """The path alone is on standard output; a query, which may hold a token, is not shown."""
    assert "No LoRAs yet" in loras("list").stdout
    url = site.serve_bytes("/style.safetensors?token=secret", b"weights")

    path = Path(loras("prefetch", url).stdout.strip())

    assert path.read_bytes() == b"weights"
    listed = loras("list").stdout
    assert SHA256[:12] in listed
    assert f"{site.base}/style.safetensors" in listed
    assert "secret" not in listed
    assert "is pinned" in loras("pin", SHA256[:8]).stdout
    assert "pinned" in loras("list").stdout
    assert "unpin it first" in loras("delete", SHA256).stderr
    assert "no longer" in loras("unpin", url).stdout
    assert "is deleted" in loras("delete", SHA256).stdout
    assert not path.exists()


def test_the_list_as_json(loras: Loras, site: HttpsSite) -> None:
    """For scripts: everything that is known of each file."""
    loras("prefetch", "--pin", site.serve_bytes("/l", b"weights"))

    (entry,) = json.loads(loras("list", "--json").stdout)

    assert entry.pop("used_at").endswith("Z")
    assert Path(entry.pop("path")).read_bytes() == b"weights"
    assert entry == {
        "sha256": SHA256,
        "size_bytes": 7,
        "pinned": True,
        "in_use": False,
        "sources": [f"{site.base}/l"],
    }


def test_a_repository_may_be_fetched(
    loras: Loras, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file to take, and a revision."""
    asked: list[tuple[str, str | None]] = []

    def from_hub(
        _: LoraSources, reference: HubReference, weight_name: str | None, *, field: str
    ) -> tuple[CachedLora, HubReference]:
        asked.append((str(reference), weight_name))
        return CachedLora(tmp_path / "l.safetensors", "0" * 64), reference

    monkeypatch.setattr(LoraSources, "from_hub", from_hub)
    done = loras("prefetch", "a/style@v2", "--weight-name", "l.safetensors")

    assert done.stdout.strip() == str(tmp_path / "l.safetensors")
    assert asked == [("a/style@v2", "l.safetensors")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("prefetch", "/tmp/l.safetensors"), "neither an https URL"),  # noqa: S108
        (("prefetch", "https://h.test/l", "--weight-name", "x"), "a URL names its file"),
        (("prefetch", "https://10.0.0.1/l"), "not on the public internet"),
        (("pin", "abcdefgh"), "No LoRA here is named abcdefgh"),
        (("delete", "short"), "at least 6 characters"),
    ],
    ids=str,
)
def test_mistakes_are_sentences(loras: Loras, arguments: tuple[str, ...], says: str) -> None:
    """And end the command with 1."""
    done = loras(*arguments)

    assert done.exit_code == 1
    assert says in done.stderr


def test_the_server_still_starts_without_torch() -> None:
    """This command's modules load with every other one."""
    code = "import rotoscope.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

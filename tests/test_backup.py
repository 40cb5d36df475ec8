"""What is saved while a server runs is there again when it is put back elsewhere."""

import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from rotoscope.web.signing import KeyFile, Signer
from tests.web.conftest import Site, running

Rotoscope = Callable[..., Result]


@pytest.fixture
def rotoscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rotoscope:
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.delenv("ROTOSCOPE_DATA_DIR", raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def use(site: Site) -> tuple[str, str]:
    """One job that has succeeded, one that waits; their ids."""
    done, waiting = site.submit(), site.submit(seed=2)
    site.finish(site.claim())
    return done, waiting


def test_a_backup_of_a_running_server_is_restored_elsewhere(
    rotoscope: Rotoscope, tmp_path: Path
) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "rotoscope.tar"
    with running(old) as site:
        done, waiting = use(site)
        result, token = site.result(done), site.client
        jwks = Signer(KeyFile(old)).jwks()
        assert rotoscope("backup", file, "--data-dir", old).exit_code == 0
        after = site.submit(seed=3)
    shutil.copytree(old / "outputs", new / "outputs")

    assert rotoscope("restore", file, "--data-dir", new).exit_code == 0

    with running(new) as site:
        there = {"headers": token}
        assert site.http.get(f"/v1/requests/{done}/result", **there).json() == result
        status = site.http.get(f"/v1/requests/{waiting}/status", **there).json()
        assert status["queue_position"] == 1
        assert site.http.get(f"/v1/requests/{after}/status", **there).status_code == 404
        assert site.http.get(result["output"]["video"]).content == b"0123456789"
        assert site.claim()["request_id"] == waiting
    assert Signer(KeyFile(new)).jwks() == jwks


def test_a_backup_and_what_it_restores_are_for_its_owner_alone(
    rotoscope: Rotoscope, tmp_path: Path
) -> None:
    folder, file = tmp_path / "data", tmp_path / "rotoscope.tar"
    with running(folder) as site:
        use(site)
        rotoscope("backup", file, "--data-dir", folder)

    rotoscope("restore", file, "--data-dir", tmp_path / "new")

    restored = [path for path in (tmp_path / "new").iterdir() if path.is_file()]
    assert len(restored) >= 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file, *restored)} == {0o600}


def test_nothing_is_overwritten(rotoscope: Rotoscope, tmp_path: Path) -> None:
    folder, file = tmp_path / "data", tmp_path / "rotoscope.tar"
    with running(folder) as site:
        use(site)
        rotoscope("backup", file, "--data-dir", folder)
    saved = file.read_bytes()

    again = rotoscope("backup", file, "--data-dir", folder)
    over = rotoscope("restore", file, "--data-dir", folder)

    assert again.exit_code == 1
    assert file.read_bytes() == saved
    assert over.exit_code == 1
    assert "jobs.sqlite" in over.stderr


def test_an_empty_folder_has_nothing_to_save(rotoscope: Rotoscope, tmp_path: Path) -> None:
    answer = rotoscope("backup", tmp_path / "rotoscope.tar", "--data-dir", tmp_path)

    assert answer.exit_code == 1
    assert not (tmp_path / "rotoscope.tar").exists()


def test_what_is_no_backup_is_refused_and_leaves_nothing(
    rotoscope: Rotoscope, tmp_path: Path
) -> None:
    text, foreign, damaged = tmp_path / "a.tar", tmp_path / "b.tar", tmp_path / "c.tar"
    text.write_text("hello")
    with tarfile.open(foreign, "w") as archive:
        archive.add(text, "notes.txt")
    with tarfile.open(damaged, "w") as archive:
        archive.add(text, "jobs.sqlite")

    for file in (text, foreign, damaged):
        answer = rotoscope("restore", file, "--data-dir", tmp_path / "new")
        assert answer.exit_code == 1, file
        assert file.name in answer.stderr or "damaged" in answer.stderr
    assert not list((tmp_path / "new").iterdir())


def test_an_archive_cannot_write_outside_the_folder(rotoscope: Rotoscope, tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    source = tmp_path / "source"
    source.write_text("mine")
    with tarfile.open(file, "w") as archive:
        archive.add(source, "../escaped")

    assert rotoscope("restore", file, "--data-dir", tmp_path / "new").exit_code == 1
    assert not (tmp_path / "escaped").exists()


def test_with_a_database_of_its_own_the_command_says_what_to_use(
    rotoscope: Rotoscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROTOSCOPE_DATABASE_URL", "postgresql://me@127.0.0.1/rotoscope")

    answer = rotoscope("backup", tmp_path / "rotoscope.tar")

    assert answer.exit_code == 1
    assert "pg_dump" in answer.stderr

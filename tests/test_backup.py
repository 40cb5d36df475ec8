"""What is saved while a server runs is there again when it is put back elsewhere."""

import json
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from rotoscope.jobs.open import open_store
from rotoscope.jobs.store import NewJob
from rotoscope.keys import open_keys
from rotoscope.schema.input import MODEL_ID, parse_input
from rotoscope.settings import Settings
from rotoscope.web.signing import KeyFile, Signer, opened_signer
from tests.postgres import Server, binaries
from tests.web.conftest import BODY, Site, running

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


def test_a_dump_of_postgresql_is_restored_elsewhere(
    postgres_server: Server, postgres_url: str, tmp_path: Path
) -> None:
    """By the commands of docs/operations.md: jobs, keys and webhook keys, and their order."""
    other_url, file = postgres_server.create_database(), tmp_path / "rotoscope.dump"
    settings = Settings(data_dir=tmp_path, database_url=SecretStr(postgres_url))
    other = settings.model_copy(update={"database_url": SecretStr(other_url)})
    asked = parse_input(json.dumps(BODY).encode())
    with open_keys(settings) as keys, closing(open_store(settings)) as store:
        token, owner = keys.create("me").token, keys.list()[0].owner
        ids = [
            store.submit(NewJob(model_id=MODEL_ID, key_id=owner, input=asked)).job.id
            for _ in range(3)
        ]
        store.cancel(ids[0])
        kept = store.get(ids[0])
    with opened_signer(settings) as signer:
        jwks = signer.jwks()

    dump = ["--format=custom", f"--file={file}", postgres_url]
    for program, arguments in (
        ("pg_dump", dump),
        ("pg_restore", [f"--dbname={other_url}", str(file)]),
    ):
        subprocess.run([binaries() / program, *arguments], check=True, timeout=120)

    with open_keys(other) as keys, closing(open_store(other)) as store:
        key = keys.verify(token)
        assert key
        assert key.owner == owner
        assert store.get(ids[0]) == kept
        assert [store.position(job_id) for job_id in ids[1:]] == [1, 2]
        lease = store.claim("gpu-0")
        assert lease
        assert lease.job.id == ids[1]
        assert lease.input == asked
        later = store.submit(NewJob(model_id=MODEL_ID, key_id=owner, input=asked)).job
        assert later.seq > max(job.seq for job in store.list(owner, limit=9) if job.id in ids)
    with opened_signer(other) as signer:
        assert signer.jwks() == jwks
    postgres_server.drop_database(other_url)

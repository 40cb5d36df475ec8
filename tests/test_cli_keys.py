"""`rotoscope keys`: limits, and a database in place of the folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rotoscope.cli import app
from rotoscope.keys import Key, KeyStore, Limits

Rotoscope = Callable[..., Result]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    monkeypatch.setenv("ROTOSCOPE_DATA_DIR", str(folder))
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    return folder


@pytest.fixture
def rotoscope(data_dir: Path) -> Rotoscope:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})

    return run


def only_key(place: Path | str) -> tuple[Key, Limits]:
    with KeyStore(place) as store:
        (key,) = store.list()
        return key, store.limits(key.owner)


def test_a_key_is_made_with_limits(rotoscope: Rotoscope, data_dir: Path) -> None:
    """What is not named is not limited; the list shows what is."""
    made = rotoscope("keys", "create", "ann", "--max-running", "2", "--priority", "low")
    assert made.exit_code == 0
    assert only_key(data_dir)[1] == Limits(max_running=2, priority="low")
    assert "2 running, low priority" in rotoscope("keys", "list").stdout


def test_limits_are_changed_one_by_one(rotoscope: Rotoscope, data_dir: Path) -> None:
    """A named one changes, the others stay; --lift lets go of the others."""
    rotoscope("keys", "create", "ann")
    key, _ = only_key(data_dir)
    assert "no limits" in rotoscope("keys", "limit", key.id).stdout
    rotoscope("keys", "limit", key.id, "--max-queued", "9", "--per-minute", "5")
    told = rotoscope("keys", "limit", key.id, "--per-minute", "7", "--weight", "2.5").stdout
    assert "9 queued, 7 a minute, weight 2.5" in told
    assert only_key(data_dir)[1] == Limits(max_queued=9, per_minute=7, weight=2.5)
    assert "1 running" in rotoscope("keys", "limit", key.id, "--lift", "--max-running", "1").stdout
    assert only_key(data_dir)[1] == Limits(max_running=1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--max-running", "0"), "max-running"),
        (("--weight", "0"), "weight"),
        (("--priority", "high"), "priority"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(
    rotoscope: Rotoscope, data_dir: Path, options: tuple[str, str], named: str
) -> None:
    """By name, before a key is made."""
    refused = rotoscope("keys", "create", "ann", *options)
    assert refused.exit_code == 2
    assert named in refused.stderr
    with KeyStore(data_dir) as store:
        assert store.list() == []


def test_a_worker_has_no_limits(rotoscope: Rotoscope, data_dir: Path) -> None:
    """Neither when its key is made nor later."""
    assert rotoscope("keys", "create", "gpu", "--worker", "--weight", "2").exit_code == 1
    rotoscope("keys", "create", "gpu", "--worker")
    key, _ = only_key(data_dir)
    refused = rotoscope("keys", "limit", key.id, "--weight", "2")
    assert refused.exit_code == 1
    assert "limits are for clients" in refused.stderr


def test_keys_go_where_the_database_is(
    rotoscope: Rotoscope, data_dir: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a database_url nothing is written to the data folder."""
    monkeypatch.setenv("ROTOSCOPE_DATABASE_URL", postgres_url)
    token = rotoscope("keys", "create", "ann", "--max-running", "3").stdout.strip()
    key, limits = only_key(postgres_url)
    assert limits == Limits(max_running=3)
    assert not data_dir.exists()
    assert "is revoked" in rotoscope("keys", "revoke", key.id).stdout
    with KeyStore(postgres_url) as store:
        assert store.verify(token) is None


def test_a_database_that_is_away_is_a_sentence(
    rotoscope: Rotoscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback, and not the URL with its password."""
    monkeypatch.setenv("ROTOSCOPE_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/db")
    refused = rotoscope("keys", "list")
    assert refused.exit_code == 1
    assert "does not answer" in refused.stderr
    assert "secret" not in refused.output

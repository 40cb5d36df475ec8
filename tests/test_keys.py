"""Keys: shown once, checked often, ended when told."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rotoscope.errors import OperatorError
from rotoscope.keys import FILE_NAME, KeyStore

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> Iterator[KeyStore]:
    with KeyStore(tmp_path, clock=clock) as store:
        yield store


def test_a_new_key_verifies(keys: KeyStore) -> None:
    """The token that create shows is the key's, with its role and name."""
    made = keys.create("laptop", "worker")

    assert keys.verify(made.token) == made.key
    assert (made.key.name, made.key.role) == ("laptop", "worker")
    assert made.token.startswith(f"roto_{made.key.id}_")
    assert made.token.endswith(made.key.last_four)


CHANGES: dict[str, Callable[[str], str]] = {
    "another last character": lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
    "one more": lambda token: token + "A",
    "capitals": str.upper,
    "no prefix": lambda token: token.partition("_")[2],
    "nothing": lambda token: "",
    "no id": lambda token: "roto__",
    "no text": lambda token: "roto_0_\udcff",
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_token_does_not(keys: KeyStore, change: str) -> None:
    """One wrong character is a wrong token, and odd text is no error."""
    assert keys.verify(CHANGES[change](keys.create("laptop").token)) is None


def test_tokens_are_not_stored(keys: KeyStore, tmp_path: Path) -> None:
    """Nothing in the file gives a token away, and only its owner may read the file."""
    token = keys.create("laptop").token
    file = tmp_path / FILE_NAME
    _, _, secret = token.split("_", maxsplit=2)
    assert secret.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


def test_a_revoked_key_ends_at_once(keys: KeyStore, clock: Clock) -> None:
    """After a revoke the token is refused, and the first revoke's time stays."""
    made = keys.create("laptop")
    keys.revoke(made.key.id)
    clock.now += 10
    revoked = keys.revoke(made.key.id)

    assert keys.verify(made.token) is None
    assert revoked.revoked_at == datetime.fromtimestamp(NOW, UTC)


def test_rotation_keeps_the_owner_and_overlaps(keys: KeyStore, clock: Clock) -> None:
    """Old and new tokens work side by side for the overlap, for the same owner; then the new."""
    old = keys.create("laptop")
    new = keys.rotate(old.key.id, timedelta(hours=1))

    assert new.key.owner == old.key.owner
    assert (new.key.name, new.key.role) == (old.key.name, old.key.role)
    assert keys.verify(old.token) is not None
    clock.now += 3600
    assert keys.verify(old.token) is None
    assert keys.verify(new.token) == new.key


def test_a_second_rotation_ends_the_old_key_no_later(keys: KeyStore, clock: Clock) -> None:
    """A longer overlap does not bring an ending key back to life."""
    old = keys.create("laptop")
    keys.rotate(old.key.id, timedelta(minutes=1))
    keys.rotate(old.key.id, timedelta(days=1))
    clock.now += 61
    assert keys.verify(old.token) is None


def test_an_ended_key_cannot_be_rotated(keys: KeyStore) -> None:
    """A revoked key has no successor."""
    made = keys.create("laptop")
    keys.revoke(made.key.id)
    with pytest.raises(OperatorError, match="has ended"):
        keys.rotate(made.key.id, timedelta(hours=1))


@pytest.mark.parametrize("verb", ["revoke", "rotate"])
def test_an_unknown_key_is_told(keys: KeyStore, verb: str) -> None:
    """A wrong id is a sentence that says how to find the right one."""
    with pytest.raises(OperatorError, match="no key nope; `rotoscope keys list`"):
        keys.revoke("nope") if verb == "revoke" else keys.rotate("nope", timedelta())


def test_the_list_is_in_order_of_making(keys: KeyStore, clock: Clock) -> None:
    """Every key is listed, oldest first, the ended ones too."""
    made = []
    for name in ("a", "b", "c"):
        made.append(keys.create(name).key)
        clock.now += 1
    keys.revoke(made[0].id)
    assert [key.name for key in keys.list()] == ["a", "b", "c"]


def test_a_running_server_sees_changes(keys: KeyStore, tmp_path: Path) -> None:
    """What another process makes or revokes holds for the next request."""
    with KeyStore(tmp_path) as other:
        made = other.create("laptop")
        assert keys.verify(made.token) == made.key
        other.revoke(made.key.id)
    assert keys.verify(made.token) is None


def test_only_usable_client_keys_count(keys: KeyStore) -> None:
    """A worker's key or a revoked one does not make a server reachable."""
    keys.create("gpu", "worker")
    assert not keys.has_client()
    made = keys.create("laptop")
    assert keys.has_client()
    keys.revoke(made.key.id)
    assert not keys.has_client()


def test_no_journal_but_the_rollback_one(keys: KeyStore, tmp_path: Path) -> None:
    """The file can be changed by several processes: it is not in write-ahead mode."""
    keys.create("laptop")
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.close()
    assert mode == "delete"

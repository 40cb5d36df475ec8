"""Keys: shown once, checked often, ended when told."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from rotoscope.errors import DatabaseAwayError, OperatorError
from rotoscope.keys import FILE_NAME, KeyStore, Limits, open_keys
from rotoscope.postgres import Postgres
from rotoscope.settings import Settings
from tests.postgres import Server

NOW = 1_800_000_000.0
MOVED_CLOCK = """
CREATE TABLE test_clock (now double precision);
INSERT INTO test_clock VALUES (1800000000.0);
CREATE FUNCTION epoch() RETURNS double precision LANGUAGE sql VOLATILE
  AS 'SELECT now FROM test_clock';
"""


class Clock(Protocol):
    def advance(self, seconds: float) -> None: ...


class OwnClock:
    """What the embedded database reads."""

    now = NOW

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class DatabaseClock:
    """The database's own, which a function of the test's stands in for."""

    def __init__(self, pool: Postgres) -> None:
        self._pool = pool
        with pool.session() as session:
            session.script(MOVED_CLOCK)

    def advance(self, seconds: float) -> None:
        self._pool.run("UPDATE test_clock SET now = now + :by", by=seconds)


@pytest.fixture(params=["sqlite", "postgres"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Callable[[], KeyStore], Clock]]:
    """Opens stores of one place, and its clock; each test runs on both databases."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            clock = OwnClock()
            yield lambda: stack.enter_context(KeyStore(tmp_path, clock=clock)), clock
            return
        url = request.getfixturevalue("postgres_url")
        pool = stack.enter_context(closing(Postgres(url)))
        moved = DatabaseClock(pool)
        yield lambda: stack.enter_context(KeyStore(url)), moved


@pytest.fixture
def keys(opened: tuple[Callable[[], KeyStore], Clock]) -> KeyStore:
    return opened[0]()


@pytest.fixture
def clock(opened: tuple[Callable[[], KeyStore], Clock]) -> Clock:
    return opened[1]


@pytest.fixture
def other(opened: tuple[Callable[[], KeyStore], Clock]) -> KeyStore:
    """The same keys, as another process sees them."""
    return opened[0]()


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


def test_tokens_are_not_stored(tmp_path: Path) -> None:
    """Nothing in the file gives a token away, and only its owner may read the file."""
    with KeyStore(tmp_path) as keys:
        token = keys.create("laptop").token
    file = tmp_path / FILE_NAME
    _, _, secret = token.split("_", maxsplit=2)
    assert secret.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


def test_a_revoked_key_ends_at_once(keys: KeyStore, clock: Clock) -> None:
    """After a revoke the token is refused, and the first revoke's time stays."""
    made = keys.create("laptop")
    keys.revoke(made.key.id)
    clock.advance(10)
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
    clock.advance(3600)
    assert keys.verify(old.token) is None
    assert keys.verify(new.token) == new.key


def test_a_second_rotation_ends_the_old_key_no_later(keys: KeyStore, clock: Clock) -> None:
    """A longer overlap does not bring an ending key back to life."""
    old = keys.create("laptop")
    keys.rotate(old.key.id, timedelta(minutes=1))
    keys.rotate(old.key.id, timedelta(days=1))
    clock.advance(61)
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
        clock.advance(1)
    keys.revoke(made[0].id)
    assert [key.name for key in keys.list()] == ["a", "b", "c"]


def test_a_running_server_sees_changes(keys: KeyStore, other: KeyStore) -> None:
    """What another process makes or revokes holds for the next request."""
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


def test_no_journal_but_the_rollback_one(tmp_path: Path) -> None:
    """The file can be changed by several processes: it is not in write-ahead mode."""
    with KeyStore(tmp_path) as keys:
        keys.create("laptop")
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    assert mode == "delete"


# Limits

STRICT = Limits(max_running=2, max_queued=50, per_minute=60, weight=0.5, priority="low")


def test_limits_are_an_owners(keys: KeyStore) -> None:
    """They outlive a rotation, and nobody else has them."""
    made, stranger = keys.create("laptop").key, keys.create("phone").key
    keys.set_limits(made.owner, STRICT)
    successor = keys.rotate(made.id, timedelta())

    assert keys.limits(successor.key.owner) == STRICT
    assert keys.limits(stranger.owner) == Limits()
    assert Limits() == Limits(
        max_running=None, max_queued=None, per_minute=None, weight=1.0, priority="normal"
    )


def test_limits_are_replaced_as_a_whole(keys: KeyStore) -> None:
    """The last word holds, and the defaults lift them."""
    owner = keys.create("laptop").key.owner
    keys.set_limits(owner, STRICT)
    keys.set_limits(owner, Limits(weight=3))
    assert keys.limits(owner) == Limits(weight=3)
    keys.set_limits(owner, Limits())
    assert keys.limits(owner) == Limits()


def test_a_claim_sees_who_may_run_how_much(keys: KeyStore, other: KeyStore) -> None:
    """All owners with such a limit at once; a change from elsewhere is seen some seconds later."""
    first, second = keys.create("a").key.owner, keys.create("b").key.owner
    keys.set_limits(first, Limits(max_running=3))
    keys.set_limits(second, Limits(per_minute=3))
    assert keys.running_limits() == {first: 3}
    keys.set_limits(second, Limits(max_running=1))
    assert keys.running_limits() == {first: 3, second: 1}

    other.set_limits(first, Limits(max_running=9))
    assert keys.running_limits() == {first: 3, second: 1}
    keys._running = None  # as after some seconds
    assert keys.running_limits() == {first: 9, second: 1}


def test_no_limit_can_be_nothing(keys: KeyStore) -> None:
    """The tables themselves refuse what would stop a key for ever."""
    owner = keys.create("laptop").key.owner
    with pytest.raises(Exception, match=r"(?i)check constraint"):
        keys.set_limits(owner, Limits(max_running=0))


# Copying


def test_keys_and_limits_are_copied_once(keys: KeyStore, tmp_path: Path) -> None:
    """Tokens of the one work at the other; a second copy adds nothing and changes nothing."""
    with KeyStore(tmp_path / "laptop") as laptop:
        valid, ended = laptop.create("laptop"), laptop.create("old")
        laptop.revoke(ended.key.id)
        laptop.set_limits(valid.key.owner, STRICT)

        assert laptop.copy_to(keys) == 2
        assert keys.verify(valid.token) == valid.key
        assert keys.verify(ended.token) is None
        assert keys.limits(valid.key.owner) == STRICT

        keys.revoke(valid.key.id)
        keys.set_limits(valid.key.owner, Limits())
        assert laptop.copy_to(keys) == 0
    assert keys.verify(valid.token) is None
    assert keys.limits(valid.key.owner) == Limits()


# The database


def test_the_settings_say_where_keys_are(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the data folder, or in the database that is named; a token of one is none of the other."""
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    with (
        open_keys(Settings(data_dir=tmp_path)) as folder,
        open_keys(Settings(data_dir=tmp_path, database_url=postgres_url)) as database,
    ):
        made = database.create("laptop")
        assert database.verify(made.token) == made.key
        assert folder.verify(made.token) is None


@pytest.mark.parametrize(
    "url", ["mysql://me@host/db", "postgresql://host/db", "postgresql://me@host", "nonsense"]
)
def test_a_wrong_url_is_told(url: str) -> None:
    """With the form that is right."""
    with pytest.raises(OperatorError, match="postgresql://USER:PASSWORD@HOST:PORT/DATABASE"):
        KeyStore(url)


def test_a_database_that_refuses_is_told(postgres_server: Server) -> None:
    """In the server's own words."""
    with pytest.raises(OperatorError, match='refuses: database "nowhere" does not exist'):
        KeyStore(postgres_server.url("nowhere"))


def test_a_database_that_is_away_is_told() -> None:
    """As an answer that says to come back."""
    with pytest.raises(DatabaseAwayError, match="does not answer"):
        KeyStore("postgresql://me@127.0.0.1:1/db")

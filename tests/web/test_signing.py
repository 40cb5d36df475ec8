"""Webhooks are signed as Standard Webhooks says, by keys that outlive the server."""

import io
import json
import re
import stat
import time
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from typer.testing import CliRunner

from rotoscope.cli import app
from rotoscope.errors import OperatorError
from rotoscope.postgres import Postgres
from rotoscope.web.signing import FILE_NAME, OVERLAP_S, KeyFile, KeyPlace, KeyTable, Signer

BODY = b'{"event":"request.succeeded"}'


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["file", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyPlace]:
    if request.param == "file":
        yield KeyFile(tmp_path)
        return
    database = Postgres(request.getfixturevalue("postgres_url"))
    yield KeyTable(database)
    database.close()


def verified_by(
    jwks: dict[str, list[dict[str, str]]], headers: dict[str, str], body: bytes = BODY
) -> list[str]:
    """The ids of the keys whose signature of the body the headers have, as a receiver checks it."""
    message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return [
        jwk["kid"]
        for jwk in jwks["keys"]
        for signature in headers["webhook-signature"].split(" ")
        if holds(jwk["x"], signature, message)
    ]


def holds(x: str, signature: str, message: bytes) -> bool:
    scheme, _, encoded = signature.partition(",")
    assert scheme == "v1a"
    try:
        Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(x + "=")).verify(
            b64decode(encoded), message
        )
    except InvalidSignature:
        return False
    return True


def test_a_receiver_verifies_a_webhook_by_the_published_key(place: KeyPlace) -> None:
    signer = Signer(place)

    headers = signer.headers("delivery-1", BODY)
    jwks = signer.jwks()

    assert len(jwks["keys"]) == 1
    assert verified_by(jwks, headers) == [jwks["keys"][0]["kid"]]
    assert verified_by(jwks, headers | {"webhook-id": "delivery-2"}) == []
    assert verified_by(jwks, headers | {"webhook-timestamp": "1"}) == []


def test_the_published_key_has_no_private_part(place: KeyPlace) -> None:
    jwk = Signer(place).jwks()["keys"][0]

    assert {name: jwk[name] for name in ("kty", "crv", "alg", "use")} == {
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
    }  # fmt: skip
    assert "d" not in jwk


def test_the_key_stays_when_the_server_starts_again(place: KeyPlace) -> None:
    assert Signer(place).jwks() == Signer(place).jwks()


def test_servers_that_start_together_share_one_key(postgres_url: str) -> None:
    database = Postgres(postgres_url)

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: Signer(KeyTable(database)).jwks(), range(8)))
    database.close()

    assert all(jwks == seen[0] for jwks in seen)
    assert len(seen[0]["keys"]) == 1


def test_after_a_rotation_both_keys_sign_for_a_week(place: KeyPlace) -> None:
    clock = Clock()
    signer = Signer(place, clock)
    before = signer.jwks()

    new = signer.rotate()
    clock.now += OVERLAP_S - 1
    headers = signer.headers("delivery-1", BODY)

    old_id = before["keys"][0]["kid"]
    assert verified_by(before, headers) == [old_id]
    assert verified_by(signer.jwks(), headers) == [new.id, old_id]

    clock.now += 61
    assert verified_by(before, signer.headers("delivery-1", BODY)) == []
    assert verified_by(signer.jwks(), signer.headers("delivery-1", BODY)) == [new.id]


def test_keys_that_sign_no_more_are_forgotten_at_the_next_rotation(place: KeyPlace) -> None:
    clock = Clock()
    signer = Signer(place, clock)
    first = signer.in_use()[0]

    clock.now += 1
    second = signer.rotate()
    clock.now += OVERLAP_S + 1
    third = signer.rotate()

    assert first.id not in {key.id for key in place.load()}
    assert [key.id for key in place.load()] == [second.id, third.id]


def test_another_servers_rotation_is_seen_within_a_minute(place: KeyPlace) -> None:
    clock = Clock()
    one, other = Signer(place, clock), Signer(place, clock)
    one.in_use()

    new = other.rotate()
    clock.now += 61

    assert one.in_use()[0].id == new.id


def test_the_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    Signer(KeyFile(tmp_path)).in_use()

    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("content", ["", "{}{", '[{"id": 1}]', json.dumps({"id": "x"})])
def test_a_damaged_key_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)

    with pytest.raises(OperatorError, match=FILE_NAME):
        Signer(KeyFile(tmp_path)).in_use()


def test_the_documented_receiver_tells_genuine_from_forged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of docs/webhooks.md, run as it stands."""
    page = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    receiver: dict[str, Any] = {}
    exec(code, receiver)  # noqa: S102 - our own page
    signer = Signer(KeyFile(tmp_path))
    answer = io.BytesIO(json.dumps(signer.jwks()).encode())
    receiver["urlopen"] = lambda url: answer
    keys = receiver["keys_of"]("https://rotoscope.example")
    signer.rotate()
    headers = signer.headers("delivery-1", BODY)

    assert receiver["is_genuine"](headers, BODY, keys)
    assert not receiver["is_genuine"](headers, BODY + b" ", keys)
    assert not receiver["is_genuine"](headers | {"webhook-id": "delivery-2"}, BODY, keys)
    late = Signer(KeyFile(tmp_path), clock=lambda: time.time() - 301)
    assert not receiver["is_genuine"](late.headers("delivery-1", BODY), BODY, keys)


def test_the_command_rotates_the_key_of_a_running_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROTOSCOPE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ROTOSCOPE_CONFIG", str(tmp_path / "none.toml"))
    before = Signer(KeyFile(tmp_path)).jwks()["keys"]

    said = CliRunner().invoke(app, ["webhooks", "rotate"])
    listed = CliRunner().invoke(app, ["webhooks", "keys"], env={"COLUMNS": "200"}).stdout

    after = Signer(KeyFile(tmp_path)).jwks()["keys"]
    assert said.exit_code == 0
    assert [*after[1:]] == before
    assert after[0]["kid"] in said.stdout
    for key in after:
        assert key["kid"] in listed
        assert key["x"] in listed

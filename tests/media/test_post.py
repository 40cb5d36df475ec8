"""A post goes where it was sent, and nowhere else: the guards of every download hold for it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import pytest

from rotoscope.media.fetch import FetchPolicy, UndeliveredError, post
from tests.https_site import HttpsSite, https_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HttpsSite]:
    with https_site(tmp_path) as found:
        yield found


def send(uri: str, policy: FetchPolicy) -> int:
    return asyncio.run(post(uri, b'{"a": 1}', [(b"Webhook-Id", b"delivery-1")], policy))


def test_the_body_and_its_headers_arrive(site: HttpsSite) -> None:
    url = site.serve_bytes("/hook", b"thanks", 202)

    assert send(url, site.policy) == 202

    (posted,) = site.posted
    assert posted.body == b'{"a": 1}'
    assert posted.headers["webhook-id"] == "delivery-1"


def test_a_redirect_is_an_answer_and_is_not_followed(site: HttpsSite) -> None:
    elsewhere = site.serve_bytes("/elsewhere", b"")
    url = site.redirect("/hook", elsewhere)

    assert send(url, site.policy) == 302
    assert [posted.path for posted in site.posted] == ["/hook"]


def test_an_answer_of_any_length_is_not_read(site: HttpsSite) -> None:
    """A receiver that never ends its answer costs nothing: the status is all that is wanted."""
    over = Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        over.wait(30)

    url = site.serve("/hook", answer)
    try:
        assert send(url, site.policy) == 200
    finally:
        over.set()


def test_a_receiver_that_says_nothing_is_given_up(site: HttpsSite) -> None:
    over = Event()
    url = site.serve("/hook", lambda _: bool(over.wait(30)) and None)
    try:
        with pytest.raises(UndeliveredError, match=r"longer than 0\.5 seconds"):
            send(url, replace(site.policy, timeout_s=0.5))
    finally:
        over.set()


@pytest.mark.parametrize(
    "uri",
    [
        "https://127.0.0.1/hook",
        "https://10.0.0.1/hook",
        "https://[::1]/hook",
        "https://[::ffff:169.254.169.254]/latest",
        "https://2130706433/hook",
        "https://localhost/hook",
        "http://example.org/hook",
        "https://example.org:22/hook",
        "https://user:secret@example.org/hook",
        "ftp://example.org/hook",
    ],
)
def test_what_is_not_public_is_never_connected_to(uri: str) -> None:
    with pytest.raises(UndeliveredError):
        send(uri, FetchPolicy(timeout_s=5))


def test_an_unknown_certificate_is_refused(site: HttpsSite) -> None:
    url = site.serve_bytes("/hook", b"")

    with pytest.raises(UndeliveredError, match="certificate"):
        send(url, replace(site.policy, ca_file=None))
    assert not site.posted


def test_nobody_listening_is_an_error_with_a_reason() -> None:
    policy = FetchPolicy(("127.0.0.1",), timeout_s=5)

    with pytest.raises(UndeliveredError, match="reached"):
        send("http://127.0.0.1:9/hook", policy)

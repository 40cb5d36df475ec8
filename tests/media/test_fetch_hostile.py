"""Servers that lie, drip or never end, and names that lead elsewhere at the second look."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from rotoscope.errors import FileDownloadError, FileTooLargeError, JobError
from rotoscope.media.fetch import FetchPolicy, fetch
from tests.https_site import HttpsSite

LISTED = ("127.0.0.1",)
PATIENT = FetchPolicy(LISTED, timeout_s=60)
HASTY = FetchPolicy(LISTED, timeout_s=2)
OK = b"HTTP/1.1 200 OK\r\n"

Answer = Callable[[socket.socket, Event], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """One that does whatever `answer` does with its first connection; the event ends it."""
    over = Event()

    def serve(listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
            with connection:
                answer(connection, over)
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        thread = Thread(target=serve, args=(listening,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v.mp4"
        finally:
            over.set()
            thread.join(60)


def saying(text: bytes) -> Answer:
    def answer(connection: socket.socket, over: Event) -> None:
        connection.recv(4096)
        connection.sendall(text)

    return answer


def get(url: str, folder: Path, policy: FetchPolicy) -> Path:
    return fetch(url, into=folder, name="v", policy=policy, max_bytes=1000, field="video_url")


def failure(url: str, folder: Path, policy: FetchPolicy) -> JobError:
    with pytest.raises((FileDownloadError, FileTooLargeError)) as caught:
        get(url, folder, policy)
    assert list(folder.iterdir()) == []
    return caught.value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "broke off or did not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not speak HTTP"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nframes", "did not speak HTTP"),
        (OK + b"Content-Length: -6\r\n\r\nframes", "did not speak HTTP"),
        (OK + b"Content-Length: 0x6\r\n\r\nframes", "did not speak HTTP"),
        (OK + b"Content-Length: 6\r\n\r\nfra", "broke off"),
        (OK + b"Content-Length: 1001\r\n\r\n", "larger than"),
        (OK + b"Content-Length: 99999999999999999999\r\n\r\n", "larger than|did not speak"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "did not speak HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\nfra", "broke off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nframes\r\n0\r\n\r\n", "did not speak HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n" + b"x" * 9999, "larger than"),
        (OK + b"X: " + b"a" * 2_000_000, "did not speak HTTP"),
        (OK + b"X: a\r\n" * 300_000, "did not speak HTTP"),
        (OK + b"Content-Encoding: br\r\n\r\nframes", "compressed"),
        (b"HTTP/1.1 302 Found\r\nLocation: data:,frames\r\n\r\n", "must be an https URL"),
        (b"HTTP/1.1 302 Found\r\nLocation: //[::1]/\r\n\r\n", "https"),
    ],
)  # fmt: skip
def test_lies_are_no_file(tmp_path: Path, text: bytes, sentence: str) -> None:
    """Each is refused with what is wrong, and leaves nothing behind."""
    with server(saying(text)) as url:
        error = failure(url, tmp_path, PATIENT)

    # A server that closes at once may be seen as a connection that broke.
    sentences = sentence.replace("did not speak HTTP", "did not speak HTTP|could not be reached")
    assert any(part in str(error) for part in sentences.split("|"))
    assert error.field == "video_url"


def test_what_follows_the_claimed_length_is_not_read(tmp_path: Path) -> None:
    """As HTTP has it."""
    with server(saying(OK + b"Content-Length: 6\r\n\r\nframes and more")) as url:
        assert get(url, tmp_path, PATIENT).read_bytes() == b"frames"


def silence(connection: socket.socket, over: Event) -> None:
    over.wait(60)


def drip(text: bytes) -> Answer:
    """A byte of it again and again, for as long as anybody listens."""

    def answer(connection: socket.socket, over: Event) -> None:
        connection.recv(4096)
        connection.sendall(text)
        while not over.wait(0.05):
            connection.sendall(b"a")

    return answer


def interim(connection: socket.socket, over: Event) -> None:
    """Word that an answer will come, without end."""
    connection.recv(4096)
    while not over.is_set():
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")


def trailer(connection: socket.socket, over: Event) -> None:
    """The whole file, and then headers after it without end."""
    connection.recv(4096)
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\nframes\r\n0\r\n")
    while not over.wait(0.01):
        connection.sendall(b"X: a\r\n")


@pytest.mark.parametrize(
    "answer",
    [silence, drip(b""), drip(OK + b"X: "), drip(OK + b"\r\n"), interim, trailer],
    ids=["silence", "status", "header", "body", "interim answers", "trailer"],
)
def test_what_does_not_end_is_left_at_the_deadline(tmp_path: Path, answer: Answer) -> None:
    """Wherever in the answer it stays."""
    with server(answer) as url:
        error = failure(url, tmp_path, HASTY)

    assert error.retryable
    assert any(part in str(error) for part in ("longer than 2 seconds", "did not speak HTTP"))


def test_a_handshake_that_never_ends_is_left_too(tmp_path: Path) -> None:
    """TLS is part of the time."""
    with server(silence) as url:
        error = failure(url.replace("http:", "https:"), tmp_path, HASTY)

    assert "longer than 2 seconds" in str(error)


def pretend(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[list[str]]]) -> list[str]:
    """A resolver whose answers for each name come in turn; the last one stays."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        answers = names[host]
        given = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in given]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that anything tries to connect to."""
    tried: list[str] = []
    connect = asyncio.SelectorEventLoop.sock_connect

    async def record(self: Any, sock: Any, address: Any) -> None:
        tried.append(address[0])
        await connect(self, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", record)
    return tried


@pytest.mark.parametrize("inside", ["10.0.0.1", "169.254.169.254", "127.0.0.2", "0.0.0.0"])
def test_a_redirect_to_a_name_that_lies_inside(
    site: HttpsSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connections: list[str],
    inside: str,
) -> None:
    """Each hop's name is resolved and judged for itself."""
    folder = tmp_path / "job"
    folder.mkdir()
    asked = pretend(monkeypatch, {"inner.example.com": [[inside]]})
    url = site.redirect("/a", "https://inner.example.com/v.mp4")

    assert "public internet" in str(failure(url, folder, site.policy))
    assert asked == ["inner.example.com"]
    assert set(connections) == {"127.0.0.1"}


def test_a_name_that_moves_inside_between_two_hops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[str]
) -> None:
    """Listed by its network at the first look, elsewhere at the second: judged anew."""
    asked = pretend(monkeypatch, {"moving.example.com": [["127.0.0.1"], ["127.1.0.1"]]})
    policy = FetchPolicy(("127.0.0.1/32",), timeout_s=60)

    with server(saying(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n")) as url:
        moving = url.replace("127.0.0.1", "moving.example.com")
        error = failure(moving, tmp_path, policy)

    assert "https" in str(error)
    assert asked == ["moving.example.com"] * 2
    assert connections == ["127.0.0.1"]


MORE_SPELLINGS = [
    "0x7F.0.0.0x1", "00000177.0.0.1", "0300.0250.1.1", "127.0.0.1..", ".127.0.0.1", "127..0.0.1",
    "4294967297", "0x100000001", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:0001]", "[::1%25lo]", "[::1]:443@example.com", "127.0.0.1%00.example.com",
    "example.com%2f@127.0.0.1", "127.0.0.1;example.com", "a:b@127.0.0.1", "@127.0.0.1",
    "xn--e1afmkfd.example@127.0.0.1", "\u24c1ocalhost", "127\u30020\u30020\u30021",
    "exam\u00adple.com", "127.0.0.1\u2044x", "local\u0000host", "127.0.0.1\r\nHost: example.com",
]  # fmt: skip


@pytest.mark.parametrize("host", MORE_SPELLINGS)
def test_more_spellings_of_the_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[str], host: str
) -> None:
    """A resolver that takes them all for this machine is not believed."""

    def anything(name: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", anything)

    failure(f"https://{host}/v.mp4", tmp_path, FetchPolicy(timeout_s=60))

    assert connections == []


def test_a_name_in_punycode_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connections: list[str]
) -> None:
    """As browsers send the names of other scripts; judged by its addresses like any other."""
    asked = pretend(monkeypatch, {"xn--bcher-kva.example": [["10.0.0.1"]]})

    error = failure("https://xn--bcher-kva.example/v.mp4", tmp_path, FetchPolicy(timeout_s=60))

    assert "public internet" in str(error)
    assert asked == ["xn--bcher-kva.example"]
    assert connections == []

"""The guarded download: what it brings, what it refuses, and where it never connects."""

import asyncio
import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Event, Thread
from typing import Any

import pytest

from rotoscope.errors import (
    FileDownloadError,
    FileTooLargeError,
    JobError,
    LoraDownloadError,
    OperatorError,
)
from rotoscope.media.addresses import is_public
from rotoscope.media.fetch import FetchPolicy, fetch, refusal
from tests.https_site import HttpsSite

PUBLIC = FetchPolicy(timeout_s=5)


def get(uri: str, folder: Path, policy: FetchPolicy, max_bytes: int = 1000) -> Path:
    return fetch(
        uri, into=folder, name="source", policy=policy, max_bytes=max_bytes, field="video_url"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where downloads go; a failed one must leave nothing there."""
    folder = tmp_path / "job"
    folder.mkdir()
    yield folder
    assert [file.name for file in folder.iterdir()] in ([], ["source"])


def refused(uri: str, folder: Path, policy: FetchPolicy) -> JobError:
    with pytest.raises(FileDownloadError) as caught:
        get(uri, folder, policy)
    assert caught.value.field == "video_url"
    assert list(folder.iterdir()) == []
    return caught.value


def test_a_file_is_brought_whole(site: HttpsSite, folder: Path) -> None:
    """Over https, checked against the operator's own certificate authority."""
    url = site.serve_bytes("/a/v.mp4?x=1", b"frames")

    assert get(url, folder, site.policy).read_bytes() == b"frames"
    assert site.asked == ["/a/v.mp4?x=1"]


def test_a_listed_host_may_speak_http(folder: Path) -> None:
    """Plain http is for hosts that the operator listed, such as a file server on the LAN."""
    assert refusal("http://nas.lan:8080/v.mp4", FetchPolicy(("nas.lan",))) is None
    assert refusal("http://10.1.2.3/v.mp4", FetchPolicy(("10.0.0.0/8",))) is None
    assert "must be https" in str(refusal("http://nas.lan/v.mp4", PUBLIC))


def test_a_listed_host_is_fetched_by_http(folder: Path) -> None:
    """On whatever port it serves."""
    with plain_site(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nframes") as base:
        policy = FetchPolicy(("127.0.0.1",), timeout_s=5)
        assert get(f"{base}/v.mp4", folder, policy).read_bytes() == b"frames"


@contextmanager
def plain_site(answer: bytes) -> Iterator[str]:
    """A server without TLS that gives one answer, whatever it is asked."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(answer)

    with TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        thread.join()


def test_a_server_without_tls_is_no_https(folder: Path) -> None:
    """It is told from one that has a bad certificate."""
    with plain_site(b"HTTP/1.1 400 Bad Request\r\n\r\n") as base:
        policy = FetchPolicy(("127.0.0.1",), timeout_s=5)
        url = base.replace("http:", "https:") + "/v.mp4"
        assert "could not be reached" in str(refused(url, folder, policy))


def test_a_fragment_stays_here(site: HttpsSite, folder: Path) -> None:
    """What follows # is for the one who reads the file, not for the server."""
    url = site.serve_bytes("/v.mp4", b"frames")

    get(f"{url}#t=1,2", folder, site.policy)

    assert site.asked == ["/v.mp4"]


def test_a_port_that_is_none_is_refused(folder: Path) -> None:
    """Of listed hosts too."""
    assert "port" in str(refusal("http://nas.lan:99999/", FetchPolicy(("nas.lan",))))


def test_our_own_faults_are_not_the_servers(site: HttpsSite, tmp_path: Path) -> None:
    """A full disk or a missing folder is no failed download that the caller should repeat."""
    url = site.serve_bytes("/v", b"frames")

    with pytest.raises(FileNotFoundError):
        get(url, tmp_path / "nowhere", site.policy)


def test_a_wrong_authority_file_is_the_operators(folder: Path, tmp_path: Path) -> None:
    """The sentence names the setting."""
    policy = FetchPolicy(("127.0.0.1",), tmp_path / "none.pem", timeout_s=5)

    with pytest.raises(OperatorError, match="fetch_ca_file"):
        get("https://127.0.0.1/v", folder, policy)


def test_data_uris_are_unpacked(folder: Path) -> None:
    """As vendor clients send images, inside the request's body."""
    assert get("data:video/mp4;base64,ZnJhbWVz", folder, PUBLIC).read_bytes() == b"frames"


def test_plain_data_uris_are_unpacked(folder: Path) -> None:
    """Percent-encoded rather than base64."""
    assert get("data:,fra%6Des", folder, PUBLIC).read_bytes() == b"frames"


@pytest.mark.parametrize("uri", ["data:video/mp4;base64,&&&", "data:nothing"])
def test_damaged_data_uris_are_refused(folder: Path, uri: str) -> None:
    """With what is wrong about them."""
    assert "data URI" in str(refused(uri, folder, PUBLIC))


def test_large_data_uris_are_too_large(folder: Path) -> None:
    """The same cap as for downloads."""
    body = base64.b64encode(b"x" * 1001).decode()
    with pytest.raises(FileTooLargeError):
        get(f"data:video/mp4;base64,{body}", folder, PUBLIC)


def test_a_claimed_size_over_the_cap_is_not_downloaded(site: HttpsSite, folder: Path) -> None:
    """120 MB are refused by their header."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "120000000")
        request.end_headers()

    with pytest.raises(FileTooLargeError, match="100 MB"):
        get(site.serve("/v", answer), folder, site.policy, max_bytes=100_000_000)


def test_bytes_are_counted_whatever_was_claimed(site: HttpsSite, folder: Path) -> None:
    """A server that says nothing of the size and sends without end is cut off at the cap."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(10_000):
            request.wfile.write(b"x" * 1000)

    with pytest.raises(FileTooLargeError):
        get(site.serve("/v", answer), folder, site.policy)


@pytest.mark.parametrize(
    ("status", "retryable"), [(404, False), (403, False), (204, False), (206, False), (503, True)]
)
def test_other_answers_are_not_the_file(
    site: HttpsSite, folder: Path, status: int, *, retryable: bool
) -> None:
    """The status is told; a server in trouble may be asked again."""
    error = refused(site.serve_bytes("/v", b"", status), folder, site.policy)

    assert str(status) in str(error)
    assert error.retryable is retryable


def test_a_short_body_is_not_the_file(site: HttpsSite, folder: Path) -> None:
    """Half a video would decode to half a clip without a word."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"x" * 10)

    assert refused(site.serve("/v", answer), folder, site.policy).retryable


def test_compressed_bodies_are_refused(site: HttpsSite, folder: Path) -> None:
    """We ask for none; a bomb would come as one."""
    url = site.serve_bytes("/v", b"x", Content_Encoding="gzip")

    assert "compressed" in str(refused(url, folder, site.policy))


def test_a_server_that_drips_is_left_at_the_deadline(site: HttpsSite, folder: Path) -> None:
    """The time counts over all of it, so a byte now and then does not keep us."""
    left = Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while not left.wait(0.05):
                request.wfile.write(b"x")
        except OSError:
            left.set()

    policy = FetchPolicy(site.policy.private_hosts, site.policy.ca_file, timeout_s=0.5)
    error = refused(site.serve("/v", answer), folder, policy)

    assert "longer than 0.5 seconds" in str(error)
    assert left.wait(10)


def test_an_unknown_authority_is_refused(site: HttpsSite, folder: Path) -> None:
    """A certificate that cannot be verified is no https."""
    policy = FetchPolicy(site.policy.private_hosts, timeout_s=5)

    assert "certificate" in str(refused(site.serve_bytes("/v", b"x"), folder, policy))


def test_nobody_listening_is_retryable(folder: Path) -> None:
    """A server may be up again later."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v"
        assert refused(url, folder, FetchPolicy(("127.0.0.1",), timeout_s=5)).retryable


def test_redirects_are_followed(site: HttpsSite, folder: Path) -> None:
    """Relative ones too, as object stores answer."""
    site.serve_bytes("/c", b"frames")
    site.redirect("/b", site.base + "/c")

    assert get(site.redirect("/a", "/b"), folder, site.policy).read_bytes() == b"frames"
    assert site.asked == ["/a", "/b", "/c"]


def test_redirects_may_be_relative_to_the_path(site: HttpsSite, folder: Path) -> None:
    """As RFC 9110 has it."""
    site.serve_bytes("/files/new.mp4?x=1", b"frames")
    url = site.redirect("/files/old.mp4", "new.mp4?x=1")

    assert get(url, folder, site.policy).read_bytes() == b"frames"


def test_redirects_have_an_end(site: HttpsSite, folder: Path) -> None:
    """A loop is left after four."""
    assert "redirects" in str(refused(site.redirect("/a", "/a"), folder, site.policy))
    assert len(site.asked) == 5


@pytest.mark.parametrize(
    "to",
    [
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "http://example.com/v.mp4",
        "file:///etc/passwd",
        "ftp://example.com/v",
        "https://example.com:22/",
        "//127.0.0.2/",
        "",
        "https://user@example.com/",
    ],
)
def test_each_redirect_is_checked_again(
    site: HttpsSite, folder: Path, connections: list[str], to: str
) -> None:
    """An allowed host cannot send us where we would not have gone."""
    refused(site.redirect("/a", to), folder, site.policy)

    assert set(connections) == {"127.0.0.1"}


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that anything connects to, or tries to."""
    tried: list[str] = []
    connect = asyncio.SelectorEventLoop.sock_connect

    async def record(self: Any, sock: Any, address: Any) -> None:
        tried.append(address[0])
        await connect(self, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", record)
    return tried


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make every name resolve to the next of `answers`; the last one stays."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        given = answers[min(len(asked), len(answers)) - 1]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, port))
            for one in given
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


INSIDE = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1",
    "017700000001", "127.0.0.1.", "localhost", "localhost.", "LOCALHOST", "0", "0.0.0.0",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
    "192.0.0.192", "168.63.129.16", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]",
    "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[5f00::1]",
]  # fmt: skip
ODD = [
    "https://a@127.0.0.1/", "https://example.com\\@127.0.0.1/", "https://127.0.0.1\\.example.com/",
    "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https:/127.0.0.1/", "https:127.0.0.1",
    "https://exa mple.com/", "https://example.com:443:22/", "https://example.com:22/",
    "https://[::1", "https://example.com\t@127.0.0.1/", "https://%31%32%37.0.0.1/", "https://",
    "HTTPS://127.0.0.1/", "gopher://127.0.0.1/", "//127.0.0.1/", "file:///etc/passwd", "",
    "https://example.com:99999/", "https://[fe80::1%25lo]/", "https://127.0.0.1:08443x/",
]  # fmt: skip


@pytest.mark.parametrize("url", [f"https://{host}/v.mp4" for host in INSIDE] + ODD)
def test_no_spelling_reaches_the_inside(
    folder: Path, connections: list[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Whatever the host is called, no connection to anything but a public address is tried."""
    resolve_to(monkeypatch, ["127.0.0.1"])

    refused(url, folder, PUBLIC)

    assert connections == []


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::1"], ["::ffff:10.0.0.1"], []]
)
def test_names_are_judged_by_all_their_addresses(
    folder: Path, connections: list[str], monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    """One inner address among public ones is enough to refuse."""
    resolve_to(monkeypatch, answer)

    error = refused("https://video.example.com/v.mp4", folder, PUBLIC)

    assert connections == []
    assert not any(address in str(error) for address in answer)


def test_a_name_is_resolved_once(
    folder: Path, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was checked is the one connected to: a second answer comes too late."""
    asked = resolve_to(monkeypatch, ["203.0.114.1"], ["127.0.0.1"])

    async def unreachable(self: Any, sock: Any, address: Any) -> None:
        connections.append(address[0])
        raise OSError(113, "No route to host")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", unreachable)
    refused("https://rebind.example.com/v.mp4", folder, PUBLIC)

    assert asked == ["rebind.example.com"]
    assert connections == ["203.0.114.1"]


def test_each_address_of_a_name_is_tried(
    folder: Path, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer is passed over; in the end the name is unreachable."""
    resolve_to(monkeypatch, ["203.0.114.1", "203.0.114.2"])

    async def unreachable(self: Any, sock: Any, address: Any) -> None:
        connections.append(address[0])
        raise OSError(113, "No route to host")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", unreachable)
    error = refused("https://video.example.com/v.mp4", folder, PUBLIC)

    assert error.retryable
    assert connections == ["203.0.114.1", "203.0.114.2"]


def test_a_resolver_that_hangs_is_left_at_the_deadline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's resolver cannot be cancelled, so it is left behind in its thread."""
    released, ended = Event(), Event()

    def hang(*_: object, **__: object) -> list[Any]:
        released.wait(20)
        ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        error = refused("https://video.example.com/v.mp4", folder, FetchPolicy(timeout_s=0.2))
        assert not ended.is_set()
    finally:
        released.set()
    assert "longer than 0.2 seconds" in str(error)
    assert ended.wait(10)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1"])
def test_public_addresses_are_public(address: str) -> None:
    """The list of what is not does not swallow the internet."""
    assert is_public(ip_address(address))


def test_the_failure_is_of_the_callers_kind(folder: Path) -> None:
    """A LoRA that cannot be fetched is not called a video."""
    with pytest.raises(LoraDownloadError):
        fetch(
            "https://10.0.0.1/a.safetensors", into=folder, name="lora", policy=PUBLIC,
            max_bytes=1, field="loras.0.path", failure=LoraDownloadError,
        )  # fmt: skip


def test_refusal_says_at_submit_what_needs_no_network() -> None:
    """So that the caller hears of it in the answer, not from a failed job."""
    assert refusal("https://video.example.com/v.mp4", PUBLIC) is None
    assert refusal("data:video/mp4;base64,AAAA", PUBLIC) is None
    assert "public internet" in str(refusal("https://192.168.1.1/v.mp4", PUBLIC))
    assert "port" in str(refusal("https://video.example.com:22/v.mp4", PUBLIC))
    assert "unusual spelling" in str(refusal("https://2130706433/", PUBLIC))
    assert "https URL" in str(refusal("https://a@b.example.com/", PUBLIC))

"""Download what a request names, without letting it name anything it should not.

The name is resolved once, every address is checked, the connection goes to a checked address, and
each redirect starts over. Bytes are counted, time is limited over all of it, no proxy is taken from
the environment. What is left of a failed download is removed, except where the next one can go on
from it. What the file is, probe.py says.
Why our own: docs/decisions/0005.
"""

import asyncio
import base64
import binascii
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO, Self, TypeVar
from urllib.parse import unquote_to_bytes, urljoin

import anyio.to_thread
import httpcore2

from rotoscope.errors import FileDownloadError, FileTooLargeError, JobError, OperatorError
from rotoscope.media.addresses import Address, is_listed, is_public, parse_address

MAX_REDIRECTS = 4
PUBLIC_PORTS = (443, 8443)
MAX_PORT = 65535
# For each address of a name: one that swallows packets must not use up the time of the others.
CONNECT_S = 10.0
HEADERS = [(b"User-Agent", b"rotoscope"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]
REDIRECTS = (301, 302, 303, 307, 308)
OK, PARTIAL, NOT_MODIFIED = 200, 206, 304

Headers = Sequence[tuple[bytes, bytes]]
Saved = TypeVar("Saved")

# The one parser of URLs here. Anything it does not take, spaces, user-info, backslashes and
# non-ASCII characters among them, is refused: other parsers would disagree about it.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][!\"$-\[\]-~]*)?(?:#[!-\[\]-~]*)?",
)
_DATA = re.compile(r"data:[^,;]*(?:;[^,;=]+=[^,;]*)*(?P<base64>;base64)?,(?P<body>.*)", re.DOTALL)
# Spellings of an IPv4 address that resolvers accept and parse_address does not.
_ODD_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+))*\.?")


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """What the operator allows beyond the public internet over https."""

    private_hosts: tuple[str, ...] = ()
    """Names, addresses or networks that may be private, speak http and use any port."""
    ca_file: Path | None = None
    timeout_s: float = 120


@dataclass(frozen=True, slots=True)
class Version:
    """By what a server tells one content of a URL from the next; empty where it says nothing."""

    etag: str = ""
    modified: str = ""

    def __bool__(self) -> bool:
        return bool(self.etag or self.modified)


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    host: str
    port: int
    target: str


class _RefusedError(Exception):
    """The sentence that the caller gets, about one hop."""


class UndeliveredError(Exception):
    """A post that got no answer, or may not be sent; the text is a sentence that says why."""


def refusal(uri: str, policy: FetchPolicy) -> str | None:
    """Why `uri` will not be fetched, as far as that is known without the network; else None."""
    if uri.startswith("data:"):
        return None if _DATA.fullmatch(uri) else "The data URI is malformed."
    try:
        url = _parse(uri)
        address = parse_address(url.host)
        _check(url, [address] if address else [], policy)
    except _RefusedError as reason:
        return str(reason)
    return None


def fetch(  # noqa: PLR0913 - by name, each one a limit or a name the caller decides
    uri: str,
    *,
    into: Path,
    name: str,
    policy: FetchPolicy,
    max_bytes: int,
    field: str,
    failure: type[JobError] = FileDownloadError,
) -> Path:
    """Download an http(s) URL or unpack a data URI to `into / name`.

    Args:
        uri: What the request says.
        into: An existing folder.
        name: Our own name for the file.
        policy: What is allowed, and for how long.
        max_bytes: The most the file may have.
        field: The input field, for the error.
        failure: The error to raise where it cannot be had.

    Raises:
        FileTooLargeError: It has more than `max_bytes`.
        JobError: Of the given kind, if it may not or could not be downloaded.
    """
    file = into / name
    try:
        with _told(max_bytes, field, failure):
            if uri.startswith("data:"):
                file.write_bytes(_unpack(uri, max_bytes))
            else:
                save = partial(_save, file=file, max_bytes=max_bytes)
                asyncio.run(_download(uri, policy, [], save))
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return file


def fetch_newer(  # noqa: PLR0913 - as fetch
    uri: str,
    *,
    file: Path,
    known: Version,
    policy: FetchPolicy,
    max_bytes: int,
    field: str,
    failure: type[JobError] = FileDownloadError,
) -> Version | None:
    """Download an http(s) URL to `file`, unless its server says that it is still `known`.

    What a broken download left in `file` stays, with a note of its version beside it, and the next
    call goes on from there if the server still has that version.

    Returns:
        The version that is in `file` now; None where `known` still holds.

    Raises:
        FileTooLargeError: It has more than `max_bytes`.
        JobError: Of the given kind, if it may not or could not be downloaded.
    """
    part = _Part.of(file)
    headers = part.ask(known)
    try:
        with _told(max_bytes, field, failure):
            save = partial(_save_newer, part=part, known=known, max_bytes=max_bytes)
            return asyncio.run(_download(uri, policy, headers, save))
    except BaseException as error:
        refused = isinstance(error, JobError) and not error.retryable
        if refused or not part.note.exists():
            part.forget()
        raise


async def post(uri: str, body: bytes, headers: Headers, policy: FetchPolicy) -> int:
    """Send `body` to an http(s) URL, guarded as a download is; no redirect is followed.

    Returns:
        The status of the answer, whose body is not read.

    Raises:
        UndeliveredError: It may not be sent there, or nothing answered within `policy.timeout_s`.
    """
    try:
        with _explained(policy):
            async with (
                asyncio.timeout(policy.timeout_s),
                _open("POST", _parse(uri), policy, headers, body) as response,
            ):
                return response.status
    except (_RefusedError, _UnreachableError) as reason:
        raise UndeliveredError(str(reason)) from None


@dataclass(frozen=True, slots=True)
class _Part:
    """The first bytes of a file, and a note of which version of it they are of."""

    file: Path
    note: Path
    etag: str
    size: int

    @classmethod
    def of(cls, file: Path) -> Self:
        note = file.with_name(f"{file.name}.etag")
        etag = note.read_text() if note.exists() and file.exists() else ""
        return cls(file, note, etag, file.stat().st_size if etag else 0)

    def ask(self, known: Version) -> list[tuple[bytes, bytes]]:
        """The headers that say what is here already."""
        if self.size:
            span = f"bytes={self.size}-".encode()
            return [(b"Range", span), (b"If-Range", self.etag.encode("latin-1"))]
        if known.etag:
            return [(b"If-None-Match", known.etag.encode("latin-1"))]
        if known.modified:
            return [(b"If-Modified-Since", known.modified.encode("latin-1"))]
        return []

    def begin(self, etag: str) -> None:
        """Only a strong tag promises the very same bytes, so only with one may a part be kept."""
        self.forget()
        if etag.startswith('"'):
            self.note.write_text(etag)

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


@contextmanager
def _told(max_bytes: int, field: str, failure: type[JobError]) -> Iterator[None]:
    """What stops a download, as the job's error."""
    try:
        yield
    except _TooLargeError:
        raise FileTooLargeError(
            f"The file is larger than {max_bytes / 1e6:g} MB.", field=field
        ) from None
    except (_RefusedError, _UnreachableError) as reason:
        retryable = isinstance(reason, _UnreachableError)
        raise failure(str(reason), field=field, retryable=retryable) from None


class _UnreachableError(Exception):
    """It may work another time."""


class _TooLargeError(Exception):
    pass


def _unpack(uri: str, max_bytes: int) -> bytes:
    match = _DATA.fullmatch(uri)
    if match is None:
        raise _RefusedError("The data URI is malformed.")
    body = match["body"]
    if not match["base64"]:
        content = unquote_to_bytes(body)
    else:
        try:
            content = base64.b64decode(unquote_to_bytes(body), validate=True)
        except binascii.Error:
            raise _RefusedError("The data URI's base64 is damaged.") from None
    if len(content) > max_bytes:
        raise _TooLargeError
    return content


def _parse(uri: str) -> _Url:
    match = _URL.fullmatch(uri)
    if match is None:
        raise _RefusedError(
            "It must be an https URL without user name, spaces or backslashes; other characters "
            "percent-encoded."
        )
    scheme, host = match["scheme"], match["host"].strip("[]")
    port = int(match["port"] or (443 if scheme == "https" else 80))
    if not 0 < port <= MAX_PORT:
        raise _RefusedError(f"Its port must be a number from 1 to {MAX_PORT}.")
    target = match["target"] or "/"
    return _Url(scheme, host, port, target if target.startswith("/") else f"/{target}")


def _check(url: _Url, addresses: Iterable[Address], policy: FetchPolicy) -> None:
    """Refuse what the policy does not allow; before resolving, `addresses` may be empty."""
    addresses = list(addresses)
    if is_listed(url.host, addresses, policy.private_hosts):
        return
    if url.scheme != "https":
        raise _RefusedError("It must be https; plain http is for hosts that the operator listed.")
    if url.port not in PUBLIC_PORTS:
        raise _RefusedError("Its port must be 443 or 8443.")
    if not addresses and _ODD_NUMBER.fullmatch(url.host):
        raise _RefusedError("Its host is an unusual spelling of an address.")
    if not all(is_public(address) for address in addresses):
        raise _RefusedError("Its host is not on the public internet.")


async def _download(
    uri: str,
    policy: FetchPolicy,
    headers: Headers,
    save: Callable[[httpcore2.Response], Awaitable[Saved]],
) -> Saved:
    with _explained(policy):
        async with asyncio.timeout(policy.timeout_s):
            for _ in range(MAX_REDIRECTS + 1):
                async with _open("GET", _parse(uri), policy, headers) as response:
                    if response.status not in REDIRECTS:
                        return await save(response)
                    # The next round parses the result by the one parser, whatever this made of it.
                    uri = urljoin(uri, _header(response, b"location"))
    raise _RefusedError(f"It redirects more than {MAX_REDIRECTS} times.")


@contextmanager
def _explained(policy: FetchPolicy) -> Iterator[None]:
    """What stops an exchange, as a sentence."""
    try:
        yield
    except TimeoutError:
        raise _UnreachableError(f"It took longer than {policy.timeout_s:g} seconds.") from None
    except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
            raise _RefusedError("Its TLS certificate could not be verified.") from None
        raise _UnreachableError("Its server could not be reached.") from None
    except (httpcore2.ProtocolError, ssl.SSLError):
        raise _UnreachableError("Its server broke off or did not speak HTTP.") from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@asynccontextmanager
async def _open(
    method: str, url: _Url, policy: FetchPolicy, headers: Headers, body: bytes | None = None
) -> AsyncIterator[httpcore2.Response]:
    context = _trust(policy.ca_file)
    core = httpcore2.URL(
        scheme=url.scheme.encode(),
        host=url.host.encode(),
        port=url.port,
        target=url.target.encode(),
    )
    sent = [(b"Host", _host_header(url)), *HEADERS, *headers]
    if body is not None:
        sent.append((b"Content-Length", str(len(body)).encode()))
    async with (
        _CheckingBackend(url, policy) as backend,
        httpcore2.AsyncConnectionPool(ssl_context=context, network_backend=backend) as pool,
        pool.stream(method, core, headers=sent, content=body) as response,
    ):
        yield response


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    context = httpcore2.default_ssl_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(
                f"fetch_ca_file must be a PEM file of certificates; {ca_file} is not: {error}."
            ) from None
    return context


def _host_header(url: _Url) -> bytes:
    host = f"[{url.host}]" if ":" in url.host else url.host
    usual = 443 if url.scheme == "https" else 80
    return host.encode() if url.port == usual else f"{host}:{url.port}".encode()


class _CheckingBackend(httpcore2.AnyIOBackend):
    """Connects to the addresses that were checked, and to nothing else."""

    def __init__(self, url: _Url, policy: FetchPolicy) -> None:
        super().__init__()
        self._url = url
        self._policy = policy
        self._opened: list[httpcore2.AsyncNetworkStream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what a deadline left open, in the middle of a TLS handshake for one."""
        for stream in self._opened:
            with suppress(Exception):
                await stream.aclose()

    async def connect_tcp(
        self, host: str, port: int, *_: object, **__: object
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await resolve(host, port)
        _check(self._url, addresses, self._policy)
        for address in addresses:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                stream = await super().connect_tcp(str(address), port, timeout=CONNECT_S)
                self._opened.append(stream)
                return stream
        raise httpcore2.ConnectError("No address of the name answers.")


async def resolve(host: str, port: int) -> list[Address]:
    """Every address of `host`, each once, as the system's resolver gives them."""
    if (literal := parse_address(host)) is not None:
        return [literal]
    try:
        # In a thread that can be left behind: the event loop's own waits for its threads, past any
        # deadline.
        found = await anyio.to_thread.run_sync(
            partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM),
            abandon_on_cancel=True,
        )
    except (OSError, UnicodeError):
        raise httpcore2.ConnectError("The name has no address.") from None
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


async def _save(response: httpcore2.Response, *, file: Path, max_bytes: int) -> None:
    if response.status != OK:
        raise _refused_status(response)
    with file.open("wb") as out:
        await _write(response, out, max_bytes)


async def _save_newer(
    response: httpcore2.Response, *, part: _Part, known: Version, max_bytes: int
) -> Version | None:
    version = Version(_header(response, b"etag"), _header(response, b"last-modified"))
    if response.status == NOT_MODIFIED and known and not part.size:
        return None
    if response.status == PARTIAL and part.size:
        if not _header(response, b"content-range").startswith(f"bytes {part.size}-"):
            raise _RefusedError("Its server sent another part of the file than it was asked for.")
    elif response.status == OK:
        part.begin(version.etag)
    else:
        part.forget()
        raise _refused_status(response)
    with part.file.open("ab") as out:
        await _write(response, out, max_bytes)
    part.note.unlink(missing_ok=True)
    return version


def _refused_status(response: httpcore2.Response) -> Exception:
    retryable = response.status in (408, 416, 425, 429) or response.status >= 500  # noqa: PLR2004
    kind = _UnreachableError if retryable else _RefusedError
    return kind(f"Its server answered {response.status} instead of the file.")


async def _write(response: httpcore2.Response, out: BinaryIO, max_bytes: int) -> None:
    """Add the body to what `out` has; all of it together has `max_bytes` at most."""
    if _header(response, b"content-encoding") not in ("", "identity"):
        raise _RefusedError("Its server sent the file compressed although asked not to.")
    claimed = _header(response, b"content-length")
    before = out.tell()
    if claimed.isdigit() and before + int(claimed) > max_bytes:
        raise _TooLargeError
    async for chunk in response.aiter_stream():
        if out.tell() + len(chunk) > max_bytes:
            raise _TooLargeError
        out.write(chunk)
    if claimed.isdigit() and out.tell() - before < int(claimed):
        raise _UnreachableError("Its server broke off before the end of the file.")


def _header(response: httpcore2.Response, name: bytes) -> str:
    values = [value for key, value in response.headers if key.lower() == name]
    return values[0].decode("latin-1").strip() if values else ""

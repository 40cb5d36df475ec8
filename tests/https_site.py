"""A web server on loopback that answers as a test wants, over https like the ones out there."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import trustme

from rotoscope.media.fetch import FetchPolicy

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Posted:
    path: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes


class HttpsSite:
    """Answers by path; `policy` lets a fetch reach it."""

    def __init__(self, base: str, ca_file: Path) -> None:
        self.base = base
        self.ca_file = ca_file
        self.policy = FetchPolicy(("127.0.0.1",), ca_file, timeout_s=10)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.posted: list[Posted] = []

    def serve(self, path: str, answer: Answer) -> str:
        self.answers[path] = answer
        return self.base + path

    def serve_bytes(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            request.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            request.wfile.write(body)

        return self.serve(path, answer)

    def redirect(self, path: str, to: str) -> str:
        return self.serve_bytes(path, b"", 302, Location=to)


@contextmanager
def https_site(folder: Path) -> Iterator[HttpsSite]:
    """An https server on 127.0.0.1 with a certificate of its own authority."""
    authority = trustme.CA()
    certificates = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(certificates))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            made.answers[self.path](self)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.posted.append(Posted(self.path, headers, body))
            made.answers[self.path](self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up, as ours does on purpose, is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    base = f"https://127.0.0.1:{server.server_port}"
    made = HttpsSite(base, certificates)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

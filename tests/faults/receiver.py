"""Where webhooks arrive; one in ten is refused the first time, as real receivers do."""

import json
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

FLAKY = 10


class Receiver:
    """Listens on loopback until closed, and keeps what it accepted."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._asked = 0
        self.told: dict[str, list[str]] = defaultdict(list)
        """By request id, the ends that were told."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(receiver.take(body["request_id"], body["status"]))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, request_id: str, status: str) -> int:
        """Keep a webhook, or not; the status that it is answered with."""
        with self._lock:
            self._asked += 1
            if self._asked % FLAKY == 0:
                return 503
            self.told[request_id].append(status)
            return 204

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

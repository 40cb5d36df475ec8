"""A real S3 server for tests, on loopback: SeaweedFS, which checks signatures and their ends."""

import json
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from obstore.store import S3Store

WEED = Path(sysconfig.get_path("scripts")) / "weed"
KEY_ID = "rotoscope"
READER_ID = "reader"
SECRET = "a-secret-of-the-tests"
BUCKET = "clips"
CONFIG = {
    "identities": [
        {
            "name": "rotoscope",
            "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        },
        {
            "name": READER_ID,
            "credentials": [{"accessKey": READER_ID, "secretKey": SECRET}],
            "actions": ["Read", "List"],
        },
    ]
}
START_S = 90
OFF = ("s3.port.iceberg", "s3.port.lance", "volume.preStopSeconds")
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


@dataclass(frozen=True)
class S3Server:
    """One that answers, and its bucket."""

    endpoint: str
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What the usual clients of S3 read."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def store(self) -> S3Store:
        """A client of its own, beside Rotoscope's."""
        return S3Store(
            BUCKET,
            prefix="rotoscope",
            endpoint=self.endpoint,
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
        )


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start one that keeps its files in a folder, and kill it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*PORTS, *(f"{name}.grpc" for name in PORTS)]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(_command(folder, ports), stdout=log, stderr=log, cwd=folder) as process,
    ):
        try:
            _wait_for(endpoint, process, folder / "log")
            made = S3Server(endpoint=endpoint, url=f"s3://{BUCKET}/rotoscope")
            made.store().put("ready", b"")
            yield made
        finally:
            process.kill()
            _remove_sockets(ports.values())


def _command(folder: Path, ports: Mapping[str, int]) -> list[str]:
    config = folder / "s3.json"
    config.write_text(json.dumps(CONFIG))
    options = {name: str(port) for name, port in ports.items()} | dict.fromkeys(OFF, "0")
    options |= {"dir": str(folder), "ip": "127.0.0.1", "ip.bind": "127.0.0.1"}
    options |= {"s3.config": str(config), "volume.max": "20", "master.volumeSizeLimitMB": "64"}
    return [str(WEED), "server", "-filer", "-s3", *(f"-{k}={v}" for k, v in options.items())]


def _wait_for(endpoint: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            httpx2.get(endpoint, trust_env=False)
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


def _remove_sockets(ports: Iterable[int]) -> None:
    for port in ports:
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - its own choice
            left.unlink(missing_ok=True)

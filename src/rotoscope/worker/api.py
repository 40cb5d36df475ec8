"""The server as a worker sees it: schema/worker.py over HTTP, patient while the server is away.

Answers about a job are sent again until the server gives one, so that a restart of the server
costs no finished work. A worker that is told to end stops being patient after a few tries.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, Self

import httpx2
from pydantic import BaseModel

from rotoscope import telemetry
from rotoscope.errors import (
    FileDownloadError,
    FileTooLargeError,
    LeaseLostError,
    OperatorError,
    RotoscopeError,
)
from rotoscope.schema.output import Failure, Outcome
from rotoscope.schema.worker import (
    Assignment,
    Beaten,
    Claim,
    Fail,
    Heartbeat,
    Presence,
    Release,
    StoredFile,
    Succeed,
)
from rotoscope.worker.progress import Report

log = telemetry.logger()

Facts = Callable[[], Mapping[str, str | int | float]]

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
TRIES_WHEN_STOPPING = 3
# A claim is answered at once when there is a job; a short wait only bounds how long an idle worker
# takes to end, without dropping an assignment that is on its way.
PREVIEW = "preview.jpg"
CLAIM_WAIT_S = 1.0
TIMEOUT = httpx2.Timeout(30, connect=5)
HEARTBEAT_TIMEOUT = httpx2.Timeout(5)


class ServerAwayError(RotoscopeError):
    """No answer, or one that says to come back later."""


class RefusedError(RotoscopeError):
    """The server understood a call and will not have it; sent again it would say the same."""


class WorkerApi:
    """One worker's connection to the server; safe to use from its heartbeat thread too."""

    def __init__(  # noqa: PLR0913 - who it is, where, and for which pool
        self,
        url: str,
        key: str,
        *,
        worker_id: str,
        pool: str = "default",
        stopping: Event | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._url = url
        self._worker_id = worker_id
        self._pool = pool
        self.facts: Facts = dict
        """What the worker tells about itself now and then."""
        self._stopping = stopping or Event()
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT,
            transport=transport,
            # The operator names the server; a proxy for the open network is not in between.
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def claim(
        self, wait_s: float = CLAIM_WAIT_S, *, loaded: Sequence[str] = ()
    ) -> Assignment | None:
        """The next job, or None when there is none for now.

        Args:
            wait_s: How long the server may wait for one.
            loaded: Affinities of the sets of LoRAs that are at hand.

        Raises:
            ServerAwayError: The server does not answer.
            OperatorError: It does not accept this worker's key, or is of another version.
        """
        claim = Claim(**self._presence(), wait_s=wait_s, loaded=tuple(loaded))
        try:
            answer = self._post("/v1/worker/claim", claim)
        except RefusedError as error:
            raise OperatorError(
                f"{error} Server and worker must be of the same Rotoscope version."
            ) from error
        if answer.status_code == httpx2.codes.NO_CONTENT:
            return None
        return Assignment.model_validate_json(answer.content, extra="ignore")

    def heartbeat(self, job: Assignment, report: Report) -> bool:
        """Prolong the lease and say how far the job is: one try, the next beat is soon.

        Answers whether the job is to be stopped because its owner cancelled it.
        """
        beat = Heartbeat(
            token=job.token,
            progress=report.progress,
            warnings=report.warnings,
            presence=Presence(**self._presence()),
        )
        answer = self._post(_path(job, "heartbeat"), beat, timeout=HEARTBEAT_TIMEOUT)
        if answer.status_code == httpx2.codes.NO_CONTENT:
            return False
        return Beaten.model_validate_json(answer.content, extra="ignore").cancelling

    def store(self, job: Assignment, file: Path, name: str) -> StoredFile:
        """Hand a result's file to the server's storage."""
        for pause in self._tries():
            try:
                with file.open("rb") as content:
                    return self._put(job, name, content, file.stat().st_size)
            except ServerAwayError as error:
                self._wait(pause, error)
        raise AssertionError  # _tries() is endless

    def store_preview(self, job: Assignment, picture: bytes) -> str:
        """Hand over a picture of the running job, in one try; answers its key."""
        return self._put(job, PREVIEW, picture, len(picture)).key

    def succeed(self, job: Assignment, outcome: Outcome, report: Report) -> None:
        self._tell(
            _path(job, "succeed"),
            Succeed(
                token=job.token,
                warnings=report.warnings,
                **{name: getattr(outcome, name) for name in Outcome.model_fields},
            ),
        )

    def fail(self, job: Assignment, failure: Failure, report: Report) -> None:
        self._tell(
            _path(job, "fail"), Fail(token=job.token, error=failure, warnings=report.warnings)
        )

    def release(self, job: Assignment) -> None:
        """Hand the job back unfinished; no attempt is counted."""
        self._tell(_path(job, "release"), Release(token=job.token))

    def stop(self, job: Assignment) -> None:
        """Say that the job was stopped, as its owner asked."""
        self._tell(_path(job, "stop"), Release(token=job.token))

    def fetch_upload(
        self, upload_id: str, *, into: Path, name: str, max_bytes: int, field: str
    ) -> Path:
        """Copy an upload into `into/name`.

        Raises:
            FileDownloadError: The upload is gone or did not arrive whole.
            FileTooLargeError: It is larger than `max_bytes`.
        """
        path = into / name
        try:
            with self._http.stream("GET", f"/v1/worker/uploads/{upload_id}") as answer:
                _check_upload(answer, upload_id, field)
                _save(answer, path, max_bytes, field)
        except httpx2.TransportError as error:
            raise FileDownloadError(
                "The upload did not arrive whole from the server.", field=field, retryable=True
            ) from error
        return path

    def _presence(self) -> dict[str, Any]:
        return {"worker_id": self._worker_id, "pool": self._pool, "facts": self.facts()}

    def _tell(self, path: str, message: BaseModel) -> None:
        for pause in self._tries():
            try:
                self._post(path, message)
            except ServerAwayError as error:
                self._wait(pause, error)
            else:
                return

    def _post(
        self, path: str, message: BaseModel, *, timeout: httpx2.Timeout = TIMEOUT
    ) -> httpx2.Response:
        try:
            answer = self._http.post(
                path,
                content=message.model_dump_json(),
                headers={"Content-Type": "application/json"},
                timeout=timeout,
            )
        except httpx2.TransportError as error:
            raise ServerAwayError(f"{self._url} does not answer: {error}") from error
        return self._checked(answer)

    def _put(self, job: Assignment, name: str, content: bytes | BinaryIO, size: int) -> StoredFile:
        headers = {"Lease-Token": job.token, "Content-Length": str(size)}
        try:
            answer = self._http.put(_path(job, f"files/{name}"), content=content, headers=headers)
        except httpx2.TransportError as error:
            raise ServerAwayError(f"{self._url} does not answer: {error}") from error
        return StoredFile.model_validate_json(self._checked(answer).content, extra="ignore")

    def _checked(self, answer: httpx2.Response) -> httpx2.Response:
        match answer.status_code:
            case code if code < httpx2.codes.BAD_REQUEST:
                return answer
            case httpx2.codes.CONFLICT:
                raise LeaseLostError("The server gave this job to another attempt, or ended it.")
            case httpx2.codes.UNAUTHORIZED | httpx2.codes.FORBIDDEN:
                raise OperatorError(
                    f"{self._url} does not accept this worker's key. Make one with "
                    "`rotoscope keys create NAME --worker` there and set ROTOSCOPE_WORKER_KEY."
                )
            case code if code >= httpx2.codes.INTERNAL_SERVER_ERROR or code in (408, 429):
                raise ServerAwayError(f"{self._url} answered {code}.")
            case code:
                raise RefusedError(f"{answer.request.url} answered {code}: {answer.text[:500]}")

    def _tries(self) -> Iterator[float]:
        """Pauses between tries: endless, but a stopping worker gets a few short ones only."""
        left = TRIES_WHEN_STOPPING
        for pause in chain(BACKOFF_S, repeat(BACKOFF_S[-1])):
            if self._stopping.is_set():
                left -= 1
            if left < 0:
                raise ServerAwayError(f"{self._url} does not answer, and this worker is ending.")
            yield pause

    def _wait(self, pause: float, error: ServerAwayError) -> None:
        log.warning("server_away", reason=str(error))
        if self._stopping.is_set():
            Event().wait(BACKOFF_S[2])
        else:
            self._stopping.wait(pause)


def _path(job: Assignment, verb: str) -> str:
    return f"/v1/worker/jobs/{job.request_id}/{verb}"


def _check_upload(answer: httpx2.Response, upload_id: str, field: str) -> None:
    if answer.status_code != httpx2.codes.OK:
        raise FileDownloadError(
            f"The upload {upload_id} does not exist any more; upload the file again.", field=field
        )


def _save(answer: httpx2.Response, path: Path, max_bytes: int, field: str) -> None:
    size = 0
    with path.open("wb") as file:
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > max_bytes:
                raise FileTooLargeError(
                    f"The file is larger than {max_bytes:,} bytes, the most this server takes "
                    "here.",
                    field=field,
                )
            file.write(chunk)

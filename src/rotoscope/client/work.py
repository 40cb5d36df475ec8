"""What the clients do, without doing it: each call of the API as steps that a client carries out.

A piece of work is a generator. It yields what it wants done (ask, pause, read a line) and is sent
what came of it, so that Client and AsyncClient share every decision and differ in how they wait.

Questions are repeated while the server is away, so that a restart of the server is only a longer
wait. A submit is repeated only where that cannot make a second job: after asking whether the server
knows Idempotency-Key, which not every server of this API does.
"""

import base64
import math
import mimetypes
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

import httpx2
from pydantic import BaseModel, ValidationError

from rotoscope import telemetry
from rotoscope.client.errors import (
    ApiError,
    InputError,
    NoResultError,
    UnreachableError,
    WaitTimeoutError,
)
from rotoscope.client.inputs import Asked, File
from rotoscope.client.result import Finished
from rotoscope.schema.input import VideoToVideoInput
from rotoscope.schema.output import (
    AnyWord,
    Cancelled,
    ErrorBody,
    Listed,
    Page,
    Planned,
    Result,
    Status,
    Submitted,
    Uploaded,
)

log = telemetry.logger()

POLL_S = 0.5
PATIENCE_S = 300.0
"""How long one question is repeated while the server does not answer."""
PAUSE_S = 1.0
CONNECT_S = 10.0
ANSWER_S, LONG_S = 60.0, 600.0
"""How long an answer may take; one to a body with files, or that the server has to fetch for."""
QUIET_S = 60.0
"""A stream of events that says nothing for so long, not even that it lives, is opened anew."""
LATER = frozenset({408, 429, 500, 502, 503, 504})
LOST = frozenset({502, 504})
"""A proxy's word that it has lost the server's."""
NO_ROUTE = frozenset({404, 405, 501})
MOST_INLINE = 45 * 2**20
"""Bytes of a file that a body of 64 MiB has room for, in base64."""
ENDED = ("completed", "cancelled")
EVENT_STREAM = "text/event-stream"

Answer = TypeVar("Answer", bound=BaseModel)
Value = TypeVar("Value")
Body = Mapping[str, Any] | VideoToVideoInput
OnStatus = Callable[[Status], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Send a request and read the whole answer."""

    method: str
    path: str
    params: Mapping[str, str | int | bool] | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, Any, str]] | None = None
    timeout_s: float = ANSWER_S


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Send a GET and come back with the answer's head; it stays open until the next, or the end."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = ANSWER_S


@dataclass(frozen=True, slots=True)
class NextChunk:
    """The next bytes of the open answer; None at its end."""


@dataclass(frozen=True, slots=True)
class NextLine:
    """Its next line; None at its end."""


@dataclass(frozen=True, slots=True)
class ReadAll:
    """All of it, into the answer."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Call somebody back; an AsyncClient awaits what is awaitable."""

    listener: OnStatus
    status: Status


@dataclass(frozen=True, slots=True)
class Give:
    """Hand a value to whoever iterates over this work."""

    value: Any


@dataclass(frozen=True, slots=True)
class Done:
    """The work is done, and this is what came of it."""

    value: Any


Step = Ask | Pause | Open | NextChunk | NextLine | ReadAll | Tell | Give
Work = Generator[Step, Any, Value]


def following(
    steps: Work[Any], answer: object = None, error: UnreachableError | None = None
) -> Step | Done:
    """What comes after the last step, of which came `answer` or `error`."""
    try:
        return steps.throw(error) if error else steps.send(answer)
    except StopIteration as end:
        return Done(end.value)


@contextmanager
def reaching(base_url: str) -> Iterator[None]:
    """Within this context an error of the transport means that the server does not answer."""
    try:
        yield
    except httpx2.TransportError as error:
        sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"{base_url} does not answer ({reason}).", sent=sent) from error


def address(base_url: str) -> str:
    """A server's, also where it was given with the version of its API."""
    return base_url.rstrip("/").removesuffix("/v1")


def headers_for(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def request_of(http: httpx2.Client | httpx2.AsyncClient, step: Ask | Open) -> httpx2.Request:
    """What is sent; another host, on which a result may lie, is not shown the key."""
    timeout = httpx2.Timeout(step.timeout_s, connect=CONNECT_S)
    if isinstance(step, Open):
        request = http.build_request("GET", step.url, headers=step.headers, timeout=timeout)
    else:
        request = http.build_request(
            step.method,
            step.path,
            params=step.params,
            json=step.body,
            headers=step.headers,
            files=step.files,
            timeout=timeout,
        )
    home = http.base_url
    if (request.url.scheme, request.url.netloc) != (home.scheme, home.netloc):
        request.headers.pop("Authorization", None)
    return request


def submit(  # noqa: PLR0913, PLR0917 - a submit's own options
    body: Body,
    model_id: str,
    patience_s: float,
    idempotency_key: str | None = None,
    webhook: str | None = None,
    priority: str | None = None,
    deadline_s: int | None = None,
) -> Work[Submitted]:
    key = idempotency_key or str(uuid4())
    headers = {
        "Idempotency-Key": key,
        "X-Webhook-URL": webhook,
        "X-Priority": priority,
        "X-Deadline-Seconds": deadline_s and str(deadline_s),
    }
    ask = Ask(
        method="POST",
        path=f"/v1/models/{model_id}",
        body=content(body),
        headers={name: value for name, value in headers.items() if value},
    )
    try:
        return read(Submitted, (yield from _once(ask, patience_s)))
    except UnreachableError as error:
        error.idempotency_key = key
        raise


def _once(ask: Ask, patience_s: float) -> Work[httpx2.Response]:
    """The answer to a submit, which is sent again only where that makes no second job.

    Raises:
        UnreachableError: The server was not reached, or it is not known whether it was.
    """
    lost = None
    for _ in range(max(1, int(patience_s / PAUSE_S))):
        try:
            answer: httpx2.Response = yield ask
            if answer.status_code not in LOST:
                return answer
            lost = UnreachableError(f"{answer.url} answered {answer.status_code}.", sent=True)
        except UnreachableError as error:
            # Refused once an earlier one was lost, it is the same server, which is restarting.
            lost = error if error.sent else lost
            if lost is None:
                raise
        yield from _make_sure_that_it_may_be_sent_again(lost, patience_s)
        yield Pause(PAUSE_S)
    assert lost  # noqa: S101 - there was at least one
    raise lost


def _make_sure_that_it_may_be_sent_again(lost: UnreachableError, patience_s: float) -> Work[None]:
    """Only Rotoscope lists a key's requests in this way, and so knows Idempotency-Key too.

    Raises:
        UnreachableError: The server does not, or is away.
    """
    try:
        yield from requests(1, None, None, patience_s)
    except (ApiError, UnreachableError, ValidationError):
        raise UnreachableError(
            f"{lost} It may have queued the request; sent once more, it might be made twice.",
            sent=True,
        ) from None


def plan(body: Body, model_id: str) -> Work[Planned]:
    # The server fetches the source first.
    path = f"/v1/models/{model_id}/plan"
    answer = yield Ask(method="POST", path=path, body=content(body), timeout_s=LONG_S)
    return read(Planned, answer)


def status(request_id: str, patience_s: float) -> Work[Status]:
    path = f"/v1/requests/{request_id}/status"
    return read(Status, (yield from asked(Ask(method="GET", path=path), patience_s)))


def result(request_id: str, patience_s: float) -> Work[Finished]:
    path = f"/v1/requests/{request_id}/result"
    return read(Finished, (yield from asked(Ask(method="GET", path=path), patience_s)))


def cancel(request_id: str, patience_s: float, *, running: bool) -> Work[Cancelled]:
    # Sent only where it is asked for: other servers of the same API may not know it.
    query = {"running": "true"} if running else None
    ask = Ask(method="POST", path=f"/v1/requests/{request_id}/cancel", params=query)
    return read(Cancelled, (yield from asked(ask, patience_s)))


def delete(request_id: str, patience_s: float) -> Work[None]:
    ask = Ask(method="DELETE", path=f"/v1/requests/{request_id}")
    checked((yield from asked(ask, patience_s)))


def requests(
    limit: int, status: AnyWord | None, cursor: str | None, patience_s: float
) -> Work[Page]:
    query = {"limit": limit, "status": status, "cursor": cursor}
    given = {name: value for name, value in query.items() if value is not None}
    ask = Ask(method="GET", path="/v1/requests", params=given)
    return read(Page, (yield from asked(ask, patience_s)))


def models(query: Mapping[str, str | int | bool], patience_s: float) -> Work[list[dict[str, Any]]]:
    answer = yield from asked(Ask(method="GET", path="/v1/models", params=query), patience_s)
    found: list[dict[str, Any]] = checked(answer).json()["models"]
    return found


def upload(file: File, name: str | None) -> Work[Uploaded]:
    with opened(file) as (content, own_name):
        part = (name or own_name, content, "application/octet-stream")
        answer = yield Ask(
            method="POST", path="/v1/uploads", files={"file": part}, timeout_s=LONG_S
        )
    return read(Uploaded, answer)


def send_files(asked_for: Asked) -> Work[dict[str, Any]]:
    """The body with every file where the server finds it."""
    body = dict(asked_for.body)
    for name, file in asked_for.files.items():
        body[name] = yield from _uri_of(name, file)
    loras: list[Mapping[str, Any]] = []
    for place, (lora, here) in enumerate(asked_for.loras):
        path = lora["path"] if here is None else (yield from _lora_uri_of(here, place))
        loras.append({**lora, "path": path})
    return body | {"loras": loras}


def _uri_of(name: str, file: File) -> Work[str]:
    """An upload's; a data: URI where the server takes no uploads."""
    if uri := (yield from _uploaded(file)):
        return uri
    with opened(file) as (content, own_name):
        content.seek(0)
        everything = content.read(MOST_INLINE + 1)
    if len(everything) > MOST_INLINE:
        problem = f"this server takes no uploads, and at most {MOST_INLINE >> 20} MiB in a request"
        raise InputError([{"loc": ["body", name], "msg": f"{problem}; give it a URL"}])
    kind = mimetypes.guess_type(own_name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(everything).decode()}"


def _lora_uri_of(file: Path, place: int) -> Work[str]:
    if uri := (yield from _uploaded(file)):
        return uri
    problem = "this server takes no uploads; give the LoRA's URL or its name on Hugging Face"
    raise InputError([{"loc": ["body", "loras", place, "path"], "msg": problem}])


def _uploaded(file: File) -> Work[str | None]:
    """The URI of its upload; None where the server takes none."""
    try:
        return (yield from upload(file, None)).url
    except ApiError as error:
        if error.status not in NO_ROUTE:
            raise
    return None


@contextmanager
def opened(file: File) -> Iterator[tuple[BinaryIO, str]]:
    """Its content and its name."""
    match file:
        case str() | Path():
            with Path(file).open("rb") as content:
                yield content, Path(file).name
        case bytes():
            yield BytesIO(file), "file"
        case _:
            yield file, Path(str(getattr(file, "name", "file"))).name


def start(asked_for: Asked, model_id: str, patience_s: float) -> Work[str]:
    """Send the files and queue the request; its id."""
    body = yield from send_files(asked_for)
    return (yield from submit(body, model_id, patience_s)).request_id


def wait(
    request_id: str,
    on_status: OnStatus | None,
    poll_s: float,
    timeout_s: float | None,
    patience_s: float,
) -> Work[Finished]:
    """Ask until the job has ended, whatever the end."""
    until = math.inf if timeout_s is None else time.monotonic() + timeout_s
    try:
        while True:
            left_s = max(0.0, until - time.monotonic())
            now = yield from status(request_id, min(patience_s, left_s))
            if on_status is not None:
                yield Tell(on_status, now)
            if now.status in ENDED:
                return (yield from result(request_id, patience_s))
            if time.monotonic() + poll_s > until:
                raise WaitTimeoutError(request_id, timeout_s or 0)
            yield Pause(poll_s)
    except (ApiError, UnreachableError) as error:
        away = isinstance(error, UnreachableError) or error.status in LATER
        if away and time.monotonic() + PAUSE_S > until:
            raise WaitTimeoutError(request_id, timeout_s or 0) from error
        error.request_id = request_id
        raise


def events(request_id: str, poll_s: float, patience_s: float) -> Work[None]:
    """Give each change of the status: as events, or by asking where there are none."""
    heard = _Heard()
    path = f"/v1/requests/{request_id}/events"
    away_s = 0.0
    while not heard.ended:
        try:
            if not (yield from _listen(path, heard)):
                yield from _watch(request_id, heard, poll_s, patience_s)
                return
            away_s = 0.0
        except (ApiError, UnreachableError) as error:
            away_s += PAUSE_S
            if isinstance(error, ApiError) or away_s > patience_s:
                error.request_id = request_id
                raise
        if not heard.ended:
            yield Pause(PAUSE_S)


class _Heard:
    """What a stream of events has told so far."""

    def __init__(self) -> None:
        self.last: Status | None = None
        self.headers = {"Accept": EVENT_STREAM}

    @property
    def ended(self) -> bool:
        return self.last is not None and self.last.status in ENDED

    def line(self, text: str) -> Status | None:
        """A new status, if this line tells one."""
        name, _, value = text.partition(":")
        if name == "id":
            self.headers["Last-Event-ID"] = value.strip()
        if name != "data":
            return None
        return self.news(Status.model_validate_json(value, extra="ignore"))

    def news(self, now: Status) -> Status | None:
        before, self.last = self.last, now
        return now if now != before else None


def _listen(path: str, heard: _Heard) -> Work[bool]:
    """Follow the stream until it breaks off; False where the server has none."""
    answer = yield Open(url=path, headers=heard.headers, timeout_s=QUIET_S)
    if answer.status_code in NO_ROUTE:
        return False
    if answer.status_code in LATER:
        raise UnreachableError(f"{answer.url} answered {answer.status_code}.")
    if answer.is_error:
        yield ReadAll()
        checked(answer)
    if not answer.headers.get("content-type", "").startswith(EVENT_STREAM):
        return False
    while (line := (yield NextLine())) is not None:
        if (now := heard.line(line)) is not None:
            yield Give(now)
    return True


def _watch(request_id: str, heard: _Heard, poll_s: float, patience_s: float) -> Work[None]:
    while not heard.ended:
        now = heard.news((yield from status(request_id, patience_s)))
        if now is not None:
            yield Give(now)
        if not heard.ended:
            yield Pause(poll_s)


def preview(running: Status | Listed) -> Work[bytes | None]:
    url = running.progress and running.progress.preview
    if not url:
        return None
    answer = yield from _opened(Open(url=url))
    yield ReadAll()
    return answer.content


def download(made: Result, to: Path) -> Work[Path]:
    """Save the video of a job that succeeded; `to` appears when it is whole.

    Raises:
        NoResultError: The job has no video.
    """
    if made.output is None or made.output.video is None:
        raise NoResultError(made)
    return (yield from _fetch(made.output.video, to))


def download_control(made: Result, to: Path) -> Work[Path | None]:
    return (yield from _fetch(made.control.video, to)) if made.control else None


def _fetch(url: str, to: Path) -> Work[Path]:
    partial = to.with_name(f".{to.name}.part")
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The server may lead on to where the file lies; the key is not sent there.
        yield from _opened(Open(url=url))
        with partial.open("wb") as out:
            while (chunk := (yield NextChunk())) is not None:
                out.write(chunk)
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    return to


def _opened(step: Open) -> Work[httpx2.Response]:
    """The head of an answer that is no error, of which the rest can be had."""
    answer: httpx2.Response = yield step
    if answer.is_error:
        yield ReadAll()
    return checked(answer)


def asked(ask: Ask, patience_s: float = PATIENCE_S) -> Work[httpx2.Response]:
    """Repeat a request that may be repeated, until there is an answer or patience ends."""
    answer: httpx2.Response
    for _ in range(int(patience_s / PAUSE_S)):
        try:
            answer = yield ask
            if answer.status_code not in LATER:
                return answer
        except UnreachableError as error:
            log.debug("server_away", reason=str(error))
        yield Pause(PAUSE_S)
    answer = yield ask
    return answer


def content(body: Body) -> Mapping[str, Any]:
    return body.model_dump(mode="json", exclude_unset=True) if isinstance(body, BaseModel) else body


def read(kind: type[Answer], answer: httpx2.Response) -> Answer:
    # A newer server may say more than this client knows.
    return kind.model_validate_json(checked(answer).content, extra="ignore")


def checked(answer: httpx2.Response) -> httpx2.Response:
    if answer.is_error:
        raise ApiError(answer.status_code, _error_body(answer))
    return answer


def _error_body(answer: httpx2.Response) -> ErrorBody:
    """What the server said, or what can be said when a proxy answered in its place."""
    try:
        return ErrorBody.model_validate_json(answer.content, extra="ignore")
    except ValidationError:
        return ErrorBody(
            error_code=answer.status_code * 1000,
            error_message=f"{answer.request.url} answered {answer.status_code} "
            f"{answer.reason_phrase}.",
        )

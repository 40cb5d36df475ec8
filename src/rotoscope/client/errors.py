"""What the clients raise."""

from collections.abc import Mapping, Sequence
from typing import Any

from rotoscope.errors import RotoscopeError
from rotoscope.schema.output import ErrorBody, Failure, FieldError, Result


class ApiError(RotoscopeError):
    """The server refused a request; the text is its own sentence.

    `request_id` names the request that was waited for, if one was.
    """

    def __init__(self, status: int, error: ErrorBody) -> None:
        super().__init__(error.error_message)
        self.request_id: str | None = None
        self.status = status
        self.error_code = error.error_code
        self.detail: list[FieldError] = error.detail or []


class UnreachableError(RotoscopeError):
    """The server does not answer.

    `sent` tells whether it may have got what it was asked. Of a submit there is the
    `idempotency_key` then, with which it can be sent again; of a request that was waited for the
    `request_id`, with which `wait` can go on.
    """

    def __init__(self, sentence: str, *, sent: bool = False) -> None:
        super().__init__(sentence)
        self.sent = sent
        self.idempotency_key: str | None = None
        self.request_id: str | None = None


class WaitTimeoutError(RotoscopeError, TimeoutError):
    """The job has not ended in the time that was given; it goes on, and so may `wait`."""

    def __init__(self, request_id: str, seconds: float) -> None:
        super().__init__(f"Request {request_id} has not ended within {seconds:g} s; it goes on.")
        self.request_id = request_id


class NoResultError(RotoscopeError):
    """The job left no video: it failed, was cancelled, or has not ended."""

    def __init__(self, result: Result) -> None:
        super().__init__(
            result.error.message
            if result.error
            else f"Request {result.request_id} has no video: it is {result.status}."
        )
        self.request_id = result.request_id
        self.failure: Failure | None = result.error


class InputError(RotoscopeError):
    """A field of the input is wrong; found before anything is sent, `detail` has each of them."""

    def __init__(self, detail: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(" ".join(map(_told, detail)))
        self.detail = detail


def _told(entry: Mapping[str, Any]) -> str:
    sentence = entry["msg"] if entry["msg"].endswith((".", "?")) else f"{entry['msg']}."
    return f"{'.'.join(map(str, entry['loc'][1:])) or 'input'}: {sentence}"

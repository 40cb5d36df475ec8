"""Everything Rotoscope raises on purpose, and what the reader can do about it.

RotoscopeError
├── OperatorError            the operator's set-up is wrong: the command ends with the sentence
├── LeaseLostError           another worker owns the job now: stop and discard
├── RequestError             an HTTP request is answered with an error
│   ├── UnauthorizedError       401 / 400004
│   ├── ForbiddenError          403 / 403001
│   ├── UnknownRequestError     404 / 404001
│   ├── UnknownModelError       404 / 400001
│   ├── NotJsonError            400 / 422001
│   ├── InvalidInputError       422 / 422001, one entry per wrong field
│   ├── BodyTooLargeError       413 / 413001
│   ├── WrongContentTypeError   415 / 415001
│   ├── ConflictError           409 / 409001
│   ├── InUseError              409 / 409002
│   ├── IdempotencyConflictError  409 / 409003
│   ├── TooManyRequestsError    429 / 429001, with Retry-After
│   └── UnavailableError        503 / 503001, with Retry-After
│       └── DatabaseAwayError       the same, because the database does not answer
└── JobError                 a job ends as failed, with a code and a sentence
    ├── FileDownloadError       file_download_error
    ├── FileTooLargeError       file_too_large
    ├── UnsupportedVideoError   unsupported_video_format
    ├── VideoTooShortError      video_too_short
    ├── VideoTooLargeError      video_too_large
    ├── UnsupportedImageError   unsupported_image_format
    ├── PreprocessorUnavailableError  preprocessor_unavailable
    ├── LoraDownloadError       lora_download_error
    ├── LoraIncompatibleError   lora_incompatible
    ├── OutOfMemoryError        out_of_memory
    ├── WorkerLostError         worker_lost
    ├── DeadlineExceededError   deadline_exceeded
    └── InternalError           internal_error
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class RotoscopeError(Exception):
    """The root of the tree; its text is a sentence for the person who reads it."""


class OperatorError(RotoscopeError):
    """A setting, a file or the machine does not fit; the text says what to change."""


class LeaseLostError(RotoscopeError):
    """The server no longer accepts this attempt: its lease ran out or the job ended."""


class RequestError(RotoscopeError):
    """An HTTP request that is refused; `status` and `error_code` go into the answer."""

    status: ClassVar[int] = 500
    error_code: ClassVar[int] = 500001
    retry_after_s: int | None = None

    @property
    def detail(self) -> Sequence[Mapping[str, Any]] | None:
        return None


class UnauthorizedError(RequestError):
    """No token, or one that is unknown, expired or revoked."""

    status = 401
    error_code = 400004


class ForbiddenError(RequestError):
    """The request belongs to another key, or the key is of the wrong kind."""

    status = 403
    error_code = 403001


class UnknownRequestError(RequestError):
    """There is no such request, or it has expired."""

    status = 404
    error_code = 404001


class UnknownModelError(RequestError):
    """There is no such model."""

    status = 404
    error_code = 400001


class NotJsonError(RequestError):
    """The body is not JSON."""

    status = 400
    error_code = 422001


class InvalidInputError(RequestError):
    """The body does not fit the schema.

    `detail` lists every wrong field as `{loc, msg, type, input?}`, with `loc` starting at `body`.
    """

    status = 422
    error_code = 422001

    def __init__(self, detail: Sequence[Mapping[str, Any]]) -> None:
        fields = [".".join(str(part) for part in entry["loc"][1:]) or "body" for entry in detail]
        super().__init__(f"The input does not fit the schema: {', '.join(dict.fromkeys(fields))}.")
        self._detail = detail

    @property
    def detail(self) -> Sequence[Mapping[str, Any]]:
        return self._detail


class BodyTooLargeError(RequestError):
    """The body is larger than the server takes."""

    status = 413
    error_code = 413001


class WrongContentTypeError(RequestError):
    """The body is not of the type that the route takes."""

    status = 415
    error_code = 415001


class ConflictError(RequestError):
    """The lease is lost: another attempt owns the job, or it has ended."""

    status = 409
    error_code = 409001


class InUseError(RequestError):
    """What is to be deleted is still in use: cancel the job, or wait for its end."""

    status = 409
    error_code = 409002


class IdempotencyConflictError(RequestError):
    """The idempotency key was sent with another body within the last 24 hours."""

    status = 409
    error_code = 409003


class TooManyRequestsError(RequestError):
    """The key submitted more than it may; Retry-After says when it may again."""

    status = 429
    error_code = 429001

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(RequestError):
    """The queue is full, the server is ending or its storage away; Retry-After says how long."""

    status = 503
    error_code = 503001

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DatabaseAwayError(UnavailableError):
    """The database does not answer or cannot do this now; the same may work in a moment."""


class JobError(RotoscopeError):
    """A job that cannot be done: `code` and the sentence are what the caller sees.

    Args:
        message: What was wrong and what would be right, in one or two sentences.
        field: The input field at fault, such as `video_url` or `loras.0.path`, if there is one.
        retryable: Whether the same request may work later; None takes the class's own answer.
    """

    code: ClassVar[str] = "internal_error"
    usually_retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, field: str | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.retryable = self.usually_retryable if retryable is None else retryable


class FileDownloadError(JobError):
    """An input could not be downloaded, or may not be."""

    code = "file_download_error"


class FileTooLargeError(JobError):
    """An input is larger than the server takes."""

    code = "file_too_large"


class UnsupportedVideoError(JobError):
    """The source is no video that can be read."""

    code = "unsupported_video_format"


class VideoTooShortError(JobError):
    """The source has no frame that can be shown."""

    code = "video_too_short"


class VideoTooLargeError(JobError):
    """The source has more pixels than are read."""

    code = "video_too_large"


class UnsupportedImageError(JobError):
    """The first frame is no image that can be read."""

    code = "unsupported_image_format"


class PreprocessorUnavailableError(JobError):
    """The model that a preprocessor needs is missing or damaged; the operator can restore it."""

    code = "preprocessor_unavailable"


class LoraDownloadError(JobError):
    """A LoRA could not be found or downloaded, or may not be."""

    code = "lora_download_error"


class LoraIncompatibleError(JobError):
    """A LoRA is no safetensors file, damaged, or made for another model."""

    code = "lora_incompatible"


class OutOfMemoryError(JobError):
    """The job did not fit into the worker's memory."""

    code = "out_of_memory"


class WorkerLostError(JobError):
    """The workers that ran the job stopped answering."""

    code = "worker_lost"
    usually_retryable = True


class DeadlineExceededError(JobError):
    """No worker had claimed the job when the deadline that its request set had passed."""

    code = "deadline_exceeded"
    usually_retryable = True


class InternalError(JobError):
    """Something unforeseen; the worker's log has it under the request id."""

    code = "internal_error"
    usually_retryable = True


JOB_ERRORS: dict[str, type[JobError]] = {leaf.code: leaf for leaf in JobError.__subclasses__()}
"""Every code a failed job can carry; the documented list is made from it."""

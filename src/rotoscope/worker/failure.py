"""Any exception to the failure that the caller sees; pure."""

from rotoscope.errors import InternalError, JobError, OutOfMemoryError
from rotoscope.schema.output import Failure


def failure_of(error: BaseException) -> Failure:
    """The documented code and sentence; of an unforeseen error nothing internal is told."""
    if isinstance(error, JobError):
        return _failure(error)
    if is_out_of_memory(error):
        return _failure(
            OutOfMemoryError(
                "The worker ran out of memory; ask for fewer frames or a smaller video_size."
            )
        )
    return _failure(
        InternalError("The worker met an error of its own; its log has it under this request id.")
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Of Python, CUDA or torch's CPU allocator, which raises a plain RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or "OutOfMemoryError" in _names(error)
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def leaves_device_unusable(error: BaseException) -> bool:
    """After such an error every later call on the GPU fails: only a new process helps."""
    return not is_out_of_memory(error) and (
        "AcceleratorError" in _names(error)
        or (isinstance(error, RuntimeError) and "CUDA error" in str(error))
    )


def _names(error: BaseException) -> set[str]:
    """By name, so that this file needs no torch."""
    return {kind.__name__ for kind in type(error).__mro__}


def _failure(error: JobError) -> Failure:
    return Failure(
        code=error.code, message=str(error), field=error.field, retryable=error.retryable
    )

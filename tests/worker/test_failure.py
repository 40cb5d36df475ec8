"""Exceptions as the caller sees them."""

import pytest
import torch

from rotoscope.errors import JOB_ERRORS, UnsupportedVideoError, VideoTooShortError
from rotoscope.worker.failure import failure_of, leaves_device_unusable


def test_a_job_error_keeps_its_code_sentence_and_field() -> None:
    """What was raised on purpose is told as it is."""
    failure = failure_of(UnsupportedVideoError("It is a text file.", field="video_url"))

    assert failure.code == "unsupported_video_format"
    assert failure.message == "It is a text file."
    assert failure.field == "video_url"
    assert not failure.retryable


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_each_kind_of_exhausted_memory_is_out_of_memory(error: Exception) -> None:
    """Python's, CUDA's and torch's CPU allocator's; a new process is not needed."""
    assert failure_of(error).code == "out_of_memory"
    assert not leaves_device_unusable(error)


def test_an_unforeseen_error_tells_nothing_internal() -> None:
    """Its text and type stay in the log."""
    failure = failure_of(KeyError("/srv/secret/path"))

    assert failure.code == "internal_error"
    assert failure.retryable
    assert "secret" not in failure.message
    assert "KeyError" not in failure.message


def test_a_broken_gpu_is_told_from_a_broken_job() -> None:
    """After a CUDA error nothing works in this process any more."""
    assert leaves_device_unusable(RuntimeError("CUDA error: device-side assert triggered"))
    assert leaves_device_unusable(torch.AcceleratorError("an illegal memory access"))
    assert not leaves_device_unusable(RuntimeError("shape mismatch"))
    assert not leaves_device_unusable(VideoTooShortError("no frame"))


def test_every_failure_has_a_documented_code() -> None:
    """Whatever is raised, the code is in the published list."""
    for error in (ValueError(), MemoryError(), VideoTooShortError("")):
        assert failure_of(error).code in JOB_ERRORS

"""LoRAs by the name of their Hugging Face repository, with the operator's own token (`HF_TOKEN`).

The file is chosen and its size is known before a byte of it is downloaded. Only safetensors are
looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo

from rotoscope.errors import FileTooLargeError, LoraDownloadError
from rotoscope.schema.hub import HubReference

SUFFIX = ".safetensors"
LISTED = 8


def find_hub_lora(
    reference: HubReference,
    weight_name: str | None,
    *,
    max_bytes: int,
    field: str,
    endpoint: str | None = None,
) -> HubReference:
    """The very file that `reference` and `weight_name` mean: its repository, commit and name.

    Args:
        reference: The repository, perhaps with a revision and a file.
        weight_name: The file to take, if the reference names none.
        max_bytes: The most the file may have.
        field: The input field, for the error.
        endpoint: Another hub than the usual one.

    Raises:
        LoraDownloadError: The repository or the file is not there, not readable or not reachable,
            or several files could be meant.
        FileTooLargeError: It has more than `max_bytes`.
    """
    with _told(reference, field):
        info = HfApi(endpoint=endpoint).model_info(
            reference.repo, revision=reference.revision, files_metadata=True
        )
    name = _choose(info, reference.file or weight_name, field)
    _check_size(info, name, max_bytes, field)
    return HubReference(reference.repo, info.sha, name)


def download_hub_lora(
    exact: HubReference, *, into: Path, field: str, endpoint: str | None = None
) -> Path:
    """Download what find_hub_lora found into the folder `into`; a download that broke goes on.

    Raises:
        LoraDownloadError: It is not readable or not reachable any more.
    """
    with _told(exact, field):
        return Path(
            hf_hub_download(
                exact.repo,
                exact.file,
                revision=exact.revision,
                local_dir=into,
                endpoint=endpoint,
                etag_timeout=30,
            )
        )


@contextmanager
def _told(reference: HubReference, field: str) -> Iterator[None]:
    """What stops the library, as the job's error."""
    repo = reference.repo
    try:
        yield
    except GatedRepoError:
        reason = f"{repo} is gated; the operator has to accept its terms and set HF_TOKEN"
        raise LoraDownloadError(f"{reason}.", field=field) from None
    except RevisionNotFoundError:
        reason = f"{repo} has no revision {reference.revision}"
        raise LoraDownloadError(f"{reason}.", field=field) from None
    except (RepositoryNotFoundError, HFValidationError):
        reason = f"There is no repository {repo}, or it is private"
        raise LoraDownloadError(f"{reason}.", field=field) from None
    except (httpx2.HTTPError, OSError):
        raise LoraDownloadError(
            f"{repo} could not be fetched from Hugging Face.", field=field, retryable=True
        ) from None


def _choose(info: ModelInfo, asked: str | None, field: str) -> str:
    """The file asked for, else the only one there is."""
    names: list[str] = sorted(file.rfilename for file in info.siblings or ())
    candidates = [name for name in names if name.endswith(SUFFIX)]
    if asked is not None:
        candidates = [name for name in candidates if name == asked]
        if not candidates:
            raise LoraDownloadError(f"{info.id} has no {SUFFIX} file {asked}.", field=field)
    if not candidates:
        raise LoraDownloadError(f"{info.id} has no {SUFFIX} file.", field=field)
    if len(candidates) > 1:
        listed = ", ".join(candidates[:LISTED])
        raise LoraDownloadError(
            f"{info.id} has several {SUFFIX} files; name one of them in weight_name: {listed}.",
            field=field,
        )
    return candidates[0]


def _check_size(info: ModelInfo, name: str, max_bytes: int, field: str) -> None:
    size = next(file.size for file in info.siblings or () if file.rfilename == name)
    if size is None or size > max_bytes:
        raise FileTooLargeError(
            f"{name} of {info.id} is larger than {max_bytes / 1e6:g} MB.", field=field
        )

"""LoRAs by the name of their Hugging Face repository, with the operator's own token (`HF_TOKEN`).

The file is chosen and its size is known before a byte of it is downloaded. Files are kept in a
cache by commit, so that the next job finds them. Only safetensors are looked at.
"""

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


def fetch_hub_lora(  # noqa: PLR0913 - by name, each one a limit or a name the caller decides
    reference: HubReference,
    weight_name: str | None,
    *,
    cache: Path,
    max_bytes: int,
    field: str,
    endpoint: str | None = None,
) -> Path:
    """The file that `reference` and `weight_name` mean, downloaded unless it is in `cache`.

    Args:
        reference: The repository, perhaps with a revision and a file.
        weight_name: The file to take, if the reference names none.
        cache: A folder that outlives the job.
        max_bytes: The most the file may have.
        field: The input field, for the error.
        endpoint: Another hub than the usual one.

    Raises:
        LoraDownloadError: The repository or the file is not there, not readable or not reachable,
            or several files could be meant.
        FileTooLargeError: It has more than `max_bytes`.
    """
    repo = reference.repo
    try:
        info = HfApi(endpoint=endpoint).model_info(
            repo, revision=reference.revision, files_metadata=True
        )
        name = _choose(info, reference.file or weight_name, field)
        _check_size(info, name, max_bytes, field)
        return Path(
            hf_hub_download(
                repo, name, revision=info.sha, cache_dir=cache, endpoint=endpoint, etag_timeout=30
            )
        )
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


def origin_of(file: Path, repo: str) -> HubReference | None:
    """The commit and the name that a file of fetch_hub_lora's cache has in its repository.

    None for a file from elsewhere.
    """
    # The cache's layout: models--OWNER--NAME/snapshots/COMMIT/FILE.
    head, marker, tail = file.as_posix().rpartition("/snapshots/")
    commit, slash, name = tail.partition("/")
    if not (marker and slash and head.endswith(f"/models--{repo.replace('/', '--')}")):
        return None
    return HubReference(repo, commit, name)


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

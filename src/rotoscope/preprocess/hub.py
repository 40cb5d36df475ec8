"""Download the better models of preprocessors from Hugging Face, on the operator's request."""

from collections.abc import Callable
from pathlib import Path

import httpx2
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from rotoscope.errors import OperatorError
from rotoscope.preprocess.weights import MEGABYTE, Weights
from rotoscope.settings import Settings


def fetch_weights(
    weights: Weights,
    settings: Settings,
    report: Callable[[str], None],
    *,
    endpoint: str | None = None,
) -> Path:
    """Download what is missing of a model; the folder comes back.

    Args:
        weights: A row of the registry.
        settings: Where downloads go.
        report: Told what is being downloaded.
        endpoint: Another hub than the usual one.

    Raises:
        OperatorError: It ships and is not downloaded, or the hub is out of reach or has it not.
    """
    folder = weights.path(settings).parent
    if weights.repo is None:
        raise OperatorError(f"{weights.name} is not downloaded: it comes with Rotoscope.")
    if weights.here(settings):
        return folder
    report(f"{weights.repo} ({weights.size / MEGABYTE:.0f} MB) to {folder}")
    try:
        # The weights come last: they are what says that the model is here.
        for name in (*weights.files, weights.file):
            hf_hub_download(weights.repo, name, local_dir=folder, endpoint=endpoint)
    except (GatedRepoError, RepositoryNotFoundError):
        raise OperatorError(
            f"{weights.repo} cannot be read; set HF_TOKEN to a token of an account that may."
        ) from None
    except (httpx2.HTTPError, OSError):
        raise OperatorError(
            f"{weights.repo} could not be downloaded from Hugging Face; run the command again, or "
            f"copy {', '.join((weights.file, *weights.files))} of it into {folder}."
        ) from None
    return folder

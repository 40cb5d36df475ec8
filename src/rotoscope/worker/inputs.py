"""The files a request names, brought into the job's folder or found in the operator's.

An input is fetched from the network (media/fetch.py guards that) or copied from the server's
uploads. A LoRA may also come from Hugging Face by its repository's name, come with the checkpoint,
or be read where it lies inside a folder that the operator listed. Downloaded LoRAs are kept
(lora_cache.py).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rotoscope.errors import FileDownloadError, LoraDownloadError
from rotoscope.generation.loras import LoraFile
from rotoscope.generation.named_loras import is_ic_lora, named_loras, shipped_lora
from rotoscope.generation.weights import Checkpoint
from rotoscope.media.fetch import fetch
from rotoscope.schema.hub import HubReference
from rotoscope.schema.input import LORA_SCHEME, UPLOAD_SCHEME, Lora, VideoToVideoInput
from rotoscope.settings import Settings
from rotoscope.worker.api import WorkerApi
from rotoscope.worker.lora_sources import LoraSources, policy_of


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of this job, and what identifies its content."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Inputs:
    video: InputFile
    image: InputFile | None
    loras: tuple[LoraFile, ...]


class Fetcher:
    """Brings a job's inputs into its folder, within the operator's limits."""

    def __init__(
        self, settings: Settings, api: WorkerApi, folder: Path, checkpoint: Checkpoint
    ) -> None:
        self.checkpoint = checkpoint
        self._settings = settings
        self._api = api
        self._folder = folder
        self._policy = policy_of(settings)
        self._sources = LoraSources.of(settings)

    def video(self, uri: str) -> InputFile:
        path = self._bring(uri, "video", self._settings.max_video_bytes, "video_url")
        return InputFile(path, sha256_of(path))

    def image(self, uri: str) -> InputFile:
        path = self._bring(uri, "image", self._settings.max_image_bytes, "image_url")
        return InputFile(path, sha256_of(path))

    def lora(self, lora: Lora, field: str) -> LoraFile:
        """The file a LoRA entry names; `field` is the input field that it came from.

        Raises:
            LoraDownloadError: It is not where the path says, or not where it may be.
            FileTooLargeError: It is larger than the operator allows.
        """
        path, sha256, origin = self._lora_file(lora, field)
        return LoraFile(
            path=path,
            ref=lora.path,
            scale=lora.scale,
            sha256=sha256,
            field=field,
            in_context=is_ic_lora(lora.path, self.checkpoint),
            origin=origin,
        )

    def _lora_file(self, lora: Lora, field: str) -> tuple[Path, str, HubReference | None]:
        """The file, its hash, and its commit if it is from Hugging Face."""
        if reference := HubReference.parse(lora.path):
            found, origin = self._sources.from_hub(
                reference, lora.weight_name, field=field, job=self._folder
            )
            return found.path, found.sha256, origin
        if lora.path.startswith(("https://", "http://")):
            found = self._sources.from_url(lora.path, field=field, job=self._folder)
            return found.path, found.sha256, None
        path = self._local_lora(lora.path, field)
        return path, sha256_of(path), None

    def _local_lora(self, path: str, field: str) -> Path:
        """One that comes with the checkpoint, lies in a listed folder, or was uploaded."""
        if path.startswith(LORA_SCHEME):
            return shipped_lora(path, self.checkpoint, self._settings, field)
        if Path(path).is_absolute():
            return local_lora(path, self._settings.lora_folders, field)
        name = f"{field}.safetensors"
        try:
            return self._bring(path, name, self._settings.max_lora_bytes, field)
        except FileDownloadError as error:
            raise LoraDownloadError(str(error), field=field, retryable=error.retryable) from error

    def _bring(
        self,
        uri: str,
        name: str,
        max_bytes: int,
        field: str,
    ) -> Path:
        if uri.startswith(UPLOAD_SCHEME):
            upload_id = uri.removeprefix(UPLOAD_SCHEME)
            return self._api.fetch_upload(
                upload_id, into=self._folder, name=name, max_bytes=max_bytes, field=field
            )
        return fetch(
            uri,
            into=self._folder,
            name=name,
            policy=self._policy,
            max_bytes=max_bytes,
            field=field,
        )


def fetch_inputs(request: VideoToVideoInput, fetcher: Fetcher) -> Inputs:
    """Everything the request names; a LoRA of scale 0 changes nothing and is not fetched."""
    return Inputs(
        video=fetcher.video(request.video_url),
        image=fetcher.image(request.image_url) if request.image_url else None,
        loras=tuple(_loras(request, fetcher)),
    )


def _loras(request: VideoToVideoInput, fetcher: Fetcher) -> Iterator[LoraFile]:
    for position, lora in enumerate(request.loras):
        if lora.scale > 0:
            yield fetcher.lora(lora, f"loras.{position}.path")
    for named in named_loras(request, fetcher.checkpoint):
        yield fetcher.lora(named.lora, named.field)


def local_lora(path: str, folders: tuple[Path, ...], field: str) -> Path:
    """The file at a local path, if links and all it lies in one of the operator's folders.

    Whether a file exists outside of them is not told.
    """
    real = Path(path).resolve()
    if not any(real.is_relative_to(folder.resolve()) for folder in folders):
        raise LoraDownloadError(
            f"{path} is not inside a folder that the operator listed for LoRAs "
            "(setting lora_folders).",
            field=field,
        )
    if not real.is_file():
        raise LoraDownloadError(f"There is no file {path} on the worker.", field=field)
    return real


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

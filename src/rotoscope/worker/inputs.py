"""The files a request names, brought into the job's folder or found in the operator's.

An input is fetched from the network (media/fetch.py guards that) or copied from the server's
uploads. A LoRA may also come from Hugging Face by its repository's name, come with the checkpoint,
or be read where it lies inside a folder that the operator listed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rotoscope.errors import FileDownloadError, JobError, LoraDownloadError
from rotoscope.generation.hub_loras import fetch_hub_lora
from rotoscope.generation.loras import LoraFile
from rotoscope.generation.named_loras import is_ic_lora, named_loras, shipped_lora
from rotoscope.generation.weights import Checkpoint
from rotoscope.media.fetch import FetchPolicy, fetch
from rotoscope.schema.hub import HubReference
from rotoscope.schema.input import LORA_SCHEME, UPLOAD_SCHEME, Lora, VideoToVideoInput
from rotoscope.settings import Settings
from rotoscope.worker.api import WorkerApi


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
        self._policy = FetchPolicy(
            private_hosts=settings.fetch_private_hosts,
            ca_file=settings.fetch_ca_file,
            timeout_s=settings.fetch_timeout_s,
        )

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
        path = self._lora_path(lora, field)
        return LoraFile(
            path=path,
            ref=lora.path,
            scale=lora.scale,
            sha256=sha256_of(path),
            field=field,
            in_context=is_ic_lora(lora.path, self.checkpoint),
        )

    def _lora_path(self, lora: Lora, field: str) -> Path:
        if lora.path.startswith(LORA_SCHEME):
            return shipped_lora(lora.path, self.checkpoint, self._settings, field)
        if Path(lora.path).is_absolute():
            return local_lora(lora.path, self._settings.lora_folders, field)
        if reference := HubReference.parse(lora.path):
            return fetch_hub_lora(
                reference,
                lora.weight_name,
                cache=self._settings.data_dir / "hub",
                max_bytes=self._settings.max_lora_bytes,
                field=field,
            )
        return self._remote_lora(lora.path, field)

    def _remote_lora(self, uri: str, field: str) -> Path:
        name = f"{field}.safetensors"
        try:
            return self._bring(
                uri, name, self._settings.max_lora_bytes, field, failure=LoraDownloadError
            )
        except FileDownloadError as error:
            raise LoraDownloadError(str(error), field=field, retryable=error.retryable) from error

    def _bring(
        self,
        uri: str,
        name: str,
        max_bytes: int,
        field: str,
        failure: type[JobError] = FileDownloadError,
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
            failure=failure,
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

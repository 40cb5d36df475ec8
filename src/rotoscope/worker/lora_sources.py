"""LoRAs from a URL or from Hugging Face, by way of the cache.

A URL's server is asked each time whether it still has the version that is here. If it cannot be
reached, the LoRA is not to be had, although it lies in the cache: the job would claim to be made
with what the URL names, and nobody could say whether it was. A commit of a repository never
changes, so its files are taken from the cache without a question beyond the one for the commit.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rotoscope.errors import LoraDownloadError
from rotoscope.generation.hub_loras import download_hub_lora, find_hub_lora
from rotoscope.media.fetch import FetchPolicy, Version, fetch_newer
from rotoscope.schema.hub import HubReference
from rotoscope.settings import Settings
from rotoscope.worker.lora_cache import CachedLora, LoraCache

TRIES = 4


@dataclass(frozen=True, slots=True)
class LoraSources:
    cache: LoraCache
    policy: FetchPolicy
    max_bytes: int
    endpoint: str | None = None
    """Another hub than the usual one."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(LoraCache.of(settings), policy_of(settings), settings.max_lora_bytes)

    def from_url(self, url: str, *, field: str, job: Path | None = None) -> CachedLora:
        """The LoRA at an http(s) URL as it is there now.

        Args:
            url: Where it is.
            field: The input field, for the error.
            job: The folder of the job that uses it.

        Raises:
            LoraDownloadError: It may not or could not be downloaded.
            FileTooLargeError: It has more than `max_bytes`.
        """
        source = url.partition("#")[0]
        with self.cache.downloading(source) as place:
            known = self.cache.version_of(source) or Version()
            version = self._fetch(url, place, known, field)
            if version is not None:
                return self.cache.adopt(place, source, version, job)
            if found := self.cache.use(source, job):
                return found
            # It was there when the server was asked, and has been evicted since.
            version = self._fetch(url, place, Version(), field)
            return self.cache.adopt(place, source, version or Version(), job)

    def from_hub(
        self,
        reference: HubReference,
        weight_name: str | None,
        *,
        field: str,
        job: Path | None = None,
    ) -> tuple[CachedLora, HubReference]:
        """The LoRA in a repository, and its commit and file there.

        Raises:
            LoraDownloadError: It is not there, not readable, not reachable, or not the only one.
            FileTooLargeError: It has more than `max_bytes`.
        """
        exact = find_hub_lora(
            reference,
            weight_name,
            max_bytes=self.max_bytes,
            field=field,
            endpoint=self.endpoint,
        )
        source = str(exact)
        with self.cache.downloading(source) as place:
            found = self.cache.use(source, job)
            if found is None:
                folder = place.with_suffix(".hub")
                file = download_hub_lora(exact, into=folder, field=field, endpoint=self.endpoint)
                found = self.cache.adopt(file, source, Version(), job)
                shutil.rmtree(folder, ignore_errors=True)
        return found, exact

    def _fetch(self, url: str, place: Path, known: Version, field: str) -> Version | None:
        """As fetch_newer; a download that broke off goes on as long as it gets further."""
        for left in reversed(range(TRIES)):
            before = _size(place)
            try:
                return fetch_newer(
                    url,
                    file=place,
                    known=known,
                    policy=self.policy,
                    max_bytes=self.max_bytes,
                    field=field,
                    failure=LoraDownloadError,
                )
            except LoraDownloadError as error:
                if not (error.retryable and left and _size(place) > before):
                    raise
        raise AssertionError


def policy_of(settings: Settings) -> FetchPolicy:
    return FetchPolicy(
        private_hosts=settings.fetch_private_hosts,
        ca_file=settings.fetch_ca_file,
        timeout_s=settings.fetch_timeout_s,
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0

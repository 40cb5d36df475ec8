"""A result that saves its video, and shows it in a notebook."""

from collections.abc import Callable
from html import escape
from pathlib import Path

from pydantic import PrivateAttr

from rotoscope.schema.output import Result

Save = Callable[["Finished", Path], object]


class Finished(Result):
    """A /result answer; in a notebook it is its video, or why there is none."""

    _save: Save | None = PrivateAttr(None)

    def bound(self, save: Save) -> "Finished":
        """The same, saved by `save`."""
        self._save = save
        return self

    @property
    def url(self) -> str | None:
        """Of the video; None where there is none."""
        return self.output.video if self.output else None

    def save(self, to: str | Path) -> Path:
        """Download the video, by the client that made it (an AsyncClient's `download` is awaited).

        Raises:
            NoResultError: The job has no video.
        """
        if self._save is None:
            raise TypeError("Await the AsyncClient's download(result, to) instead.")
        self._save(self, Path(to))
        return Path(to)

    def _repr_html_(self) -> str:
        if self.url is None:
            told = self.error.message if self.error else f"Request {self.request_id}: {self.status}"
            return f"<p>{escape(told)}</p>"
        link = escape(self.url, quote=True)
        if self.media and self.media.content_type.startswith("image/"):
            return f'<img src="{link}" style="max-width: 100%">'
        return f'<video src="{link}" controls loop style="max-width: 100%"></video>'

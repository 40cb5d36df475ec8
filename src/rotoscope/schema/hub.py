"""A LoRA's path that names a Hugging Face repository: `owner/name[@revision][/file]`."""

import re
from dataclasses import dataclass
from typing import Self

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REFERENCE = re.compile(
    rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}))?"
    r"(?:/(?P<file>[A-Za-z0-9_][A-Za-z0-9._/ -]{0,254}))?"
)


@dataclass(frozen=True, slots=True)
class HubReference:
    repo: str
    revision: str | None = None
    """A branch, a tag or a commit; the main branch if None."""
    file: str | None = None
    """A path inside the repository."""

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """The repository that `path` names, or None if it is of another form."""
        match = _REFERENCE.fullmatch(path)
        if match is None or ".." in path or "--" in match["repo"]:
            return None
        return cls(match["repo"], match["revision"], match["file"])

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}{f'/{self.file}' if self.file else ''}"

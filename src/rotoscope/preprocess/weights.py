"""The models that preprocessors use: where each is from, and which of them are here.

Two ship with Rotoscope, so that every preprocessor works without a network. Better ones are
downloaded on request (hub.py) and preferred once they are here (docs/decisions/0009).
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rotoscope.errors import PreprocessorUnavailableError
from rotoscope.schema.output import PreprocessorFacts
from rotoscope.settings import Settings

SHIPPED = Path(__file__).parent.parent / "data" / "preprocessors"
MEGABYTE = 1_000_000

Kind = Literal["depth", "pose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One row of the registry: a file that ships, or a repository on Hugging Face."""

    name: str
    kind: Kind
    description: str
    licence: str
    size: int
    """Bytes."""
    file: str
    sha256: str | None = None
    """Of a file that ships; that of a download is what came."""
    repo: str | None = None
    files: tuple[str, ...] = ()
    """Those of the repository that are needed."""
    limit: str | None = None
    """What it cannot do, told to whoever gets its result."""

    def path(self, settings: Settings) -> Path:
        """Where the file with the weights is, if it is here."""
        folder = settings.data_dir / "preprocessors" / self.name if self.repo else SHIPPED
        return folder / self.file

    def here(self, settings: Settings) -> bool:
        """Whether all of it is here."""
        folder = self.path(settings).parent
        return all((folder / name).is_file() for name in (self.file, *self.files))


WEIGHTS: dict[str, Weights] = {
    row.name: row
    for row in (
        Weights(
            name="depth-anything-v2-small",
            kind="depth",
            description="Depth Anything V2 Small: relative depth of any scene.",
            licence="Apache-2.0",
            size=99 * MEGABYTE,
            file="model.safetensors",
            repo="depth-anything/Depth-Anything-V2-Small-hf",
            files=("config.json",),
        ),
        Weights(
            name="fastdepth",
            kind="depth",
            description="FastDepth, trained on rooms (NYU Depth V2).",
            licence="MIT",
            size=5_775_869,
            file="fastdepth.onnx",
            sha256="6275c23f467d476874d0eecea2a2c7059733ca6681de4f17bfbfe3fc3a52a71d",
            limit="knows rooms and is coarse outdoors; on the worker's machine "
            "`rotoscope models fetch depth-anything-v2-small` gets a better one",
        ),
        Weights(
            name="movenet-multipose",
            kind="pose",
            description="MoveNet MultiPose Lightning: the bodies of up to six people.",
            licence="Apache-2.0",
            size=9_585_276,
            file="movenet-multipose-lightning.tflite",
            sha256="d4489f89e6bd6777a8b9a1a16189832131f84ff90d82fae729e670b84d7948dd",
        ),
    )
}


def state_of(weights: Weights, settings: Settings) -> tuple[str, str]:
    """Whether a model is `ready` or `missing`, and a sentence about it."""
    folder = weights.path(settings).parent
    if weights.here(settings):
        return "ready", "comes with Rotoscope" if weights.repo is None else f"complete in {folder}"
    get = f"`rotoscope models fetch {weights.name}` downloads {weights.size / MEGABYTE:.0f} MB"
    return "missing", f"not complete in {folder}" + (f"; {get}" if weights.repo else "")


def choose(kind: Kind, settings: Settings) -> Weights:
    """The best model of a kind that is here.

    Raises:
        PreprocessorUnavailableError: None is, or the one that ships is damaged.
    """
    rows = [row for row in WEIGHTS.values() if row.kind == kind and row.here(settings)]
    if not rows or (rows[0].sha256 and facts_of(rows[0], settings).sha256 != rows[0].sha256):
        raise PreprocessorUnavailableError(
            f"The model for {kind} that ships with Rotoscope is missing or damaged; the operator "
            'can restore it with `pip install --force-reinstall --no-deps "rotoscope[worker]"`.',
            field="preprocessor",
        )
    return rows[0]


def facts_of(weights: Weights, settings: Settings) -> PreprocessorFacts:
    """What the manifest tells of a model that ran."""
    path = weights.path(settings)
    return PreprocessorFacts(
        name=weights.kind, model=weights.name, sha256=_sha256(path, path.stat().st_mtime_ns)
    )


@cache
def _sha256(path: Path, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

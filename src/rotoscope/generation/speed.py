"""What the operator chose about how a generation is computed; what is made stays the same.

What changes a clip is among the plan's choices instead, and in the manifest.
"""

from dataclasses import dataclass
from pathlib import Path

from rotoscope.settings import ALL_ONCE, GuidanceBatch, Once, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Each has a setting; see there."""

    once: tuple[Once, ...] = ALL_ONCE
    recall_bytes: int = 0
    guidance_batch: GuidanceBatch = "auto"
    compiled: Path | None = None
    """Where compiled code is kept; None compiles nothing."""

    @classmethod
    def of(cls, settings: Settings) -> "Speed":
        return cls(
            once=settings.compute_once,
            recall_bytes=settings.recall_bytes,
            guidance_batch=settings.guidance_batch,
            compiled=settings.data_dir / "compiled" if settings.compile_blocks else None,
        )

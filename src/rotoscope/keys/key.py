"""What the key store keeps: keys, and their owners' limits."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Role = Literal["client", "worker"]
Priority = Literal["normal", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    id: str
    owner: str
    """Stays the same through rotations; jobs and limits belong to it."""
    name: str
    role: Role
    last_four: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class NewKey:
    key: Key
    token: str
    """Shown to its owner once, and never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one owner may ask; None leaves it to the server's own limit."""

    max_running: int | None = None
    """Most jobs that run at once, 1 or more."""
    max_queued: int | None = None
    """Most jobs that wait, 1 or more."""
    per_minute: int | None = None
    """Most submits within any minute, 1 or more."""
    weight: float = 1.0
    """Share of the queue beside others that wait, above 0; 2 gets two turns where 1 gets one."""
    priority: Priority = "normal"
    """`low`: all of this owner's jobs wait until no job of normal priority does."""

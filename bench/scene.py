"""The scene of a measurement: what a figure means nothing without."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def scene(packages: Sequence[str], **facts: object) -> str:
    """Commit, day, machine, versions of `packages`, and `facts` such as sizes, in one line."""
    there = ", ".join(f"{name} {version(name)}" for name in packages)
    more = "".join(f"; {name.replace('_', ' ')} {value}" for name, value in facts.items())
    return (
        f"commit {commit()}; {datetime.now(UTC):%Y-%m-%d}; {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, {there}{more}"
    )


def commit() -> str:
    """The commit of the tree that this file lies in, and whether it was changed since."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return asked.stdout.strip() or "unknown"

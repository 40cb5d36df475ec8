"""Bugs to plant in a server, so that it is seen that the checks find them.

A mutant is a change of one statement of the job table, made in a copy of the files, which the
server reads in place of its own. This module must be used before any of rotoscope is imported.
"""

import atexit
import importlib.resources
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    file: str
    """Of jobs/sql."""
    pattern: str
    """A regular expression that must match."""
    into: str


MUTANTS = {
    "a_lost_worker_may_fail_its_job": Mutant("fail.sql", r"AND token = :token", ""),
    "a_lost_worker_may_hand_back": Mutant("release.sql", r"AND token = :token", ""),
    "attempts_are_not_counted": Mutant("take.sql", r"attempt = attempt \+ 1", "attempt = 1"),
    "the_newest_goes_first": Mutant("choose.sql", r"fair_rank, seq\b", "fair_rank DESC, seq DESC"),
}


def plant(name: str) -> None:
    """Let this process read the mutated statements.

    Raises:
        SystemExit: There is no such mutant, or it no longer fits the statement.
    """
    mutant = MUTANTS.get(name)
    if mutant is None:
        raise SystemExit(f"There is no mutant {name}; there are {', '.join(MUTANTS)}.")
    files = importlib.resources.files
    # Below the test's folder, since this process may be killed.
    copy = Path(tempfile.mkdtemp(prefix="mutant-", dir=os.environ["ROTOSCOPE_DATA_DIR"]))
    shutil.copytree(str(files("rotoscope") / "jobs" / "sql"), copy / "sql")
    file = copy / "sql" / mutant.file
    text, changes = re.subn(mutant.pattern, mutant.into, file.read_text())
    if not changes:
        raise SystemExit(f"{mutant.file} has no {mutant.pattern}: the mutant {name} is no more.")
    file.write_text(text)

    def mutated(anchor: str) -> object:
        return copy if anchor == "rotoscope.jobs" else files(anchor)

    atexit.register(shutil.rmtree, copy)

    importlib.resources.files = mutated  # type: ignore[assignment]

"""Shell completion, as a shell asks for it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.journey.conftest import ROTOSCOPE


def completed(shell: str, typed: str, home: Path) -> str:
    """What a shell offers for the last of the words typed."""
    asked = {
        "_ROTOSCOPE_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": f"rotoscope {typed}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": f"rotoscope {typed}",
        "COMP_CWORD": str(typed.count(" ") + 1),
    }
    environment = {**os.environ, **asked, "HOME": str(home)}
    # The program's own name is part of the question: python -m has another.
    program = str(Path(ROTOSCOPE[0]).parent / "rotoscope")
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_are_completed(shell: str, tmp_path: Path) -> None:
    """By the shell's own protocol."""
    offered = completed(shell, "comp", tmp_path)
    assert "compare" in offered
    assert "serve" not in offered


def test_options_are_completed(tmp_path: Path) -> None:
    """Those of the input's fields too."""
    offered = completed("bash", "submit --video-", tmp_path).split()
    assert {"--video-size", "--video-quality", "--video-strength"} <= set(offered)

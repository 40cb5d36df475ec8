"""Whatever breaks, every promise is kept; and a broken promise is found."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.clip import make_clip
from tests.faults.mutants import MUTANTS
from tests.faults.run import Scene, haunt, run_in

# These share a machine with other tests: a slow one fails nothing.
pytestmark = pytest.mark.timeout(600)


def test_nothing_is_lost_or_done_twice_on_the_embedded_database(tmp_path: Path) -> None:
    """One worker, so that jobs start in exactly the order of their submits."""
    scene = Scene(
        engine="sqlite",
        jobs=12,
        seconds=8,
        clip=make_clip(tmp_path),
        workers=1,
        faults=["kill_worker", "kill_server", "cut_wire", "jump_server_clock", "fill_disk"],
    )
    report = run_in(tmp_path, scene, lambda _: None)
    assert report.violations == []
    assert report.accepted == 12
    assert report.ends["succeeded"] > 0
    assert sum(report.faults.values()) > 0


def test_nothing_is_lost_or_done_twice_on_postgresql(tmp_path: Path) -> None:
    """Three workers, and everything that can break: database, server, workers, wire, disk, time."""
    clip = make_clip(tmp_path)
    scene = Scene(engine="postgres", jobs=20, clip=clip, pause_s=0.3, seconds=12)
    report = run_in(tmp_path, scene, lambda _: None)
    assert report.violations == []
    assert report.accepted == 20
    assert report.ends["succeeded"] > 0
    assert sum(report.faults.values()) > 0


def test_lost_workers_are_refused_and_planted_bugs_are_found(tmp_path: Path) -> None:
    """The statements as they are keep every promise; without one guard each, none of them does."""
    clip = make_clip(tmp_path)

    def play(mutant: str | None) -> list[str]:
        folder = tmp_path / (mutant or "none")
        folder.mkdir()
        # A planted bug may keep jobs from ending at all; without one, a slow machine has its time.
        drain_s = 20 if mutant else 240
        return haunt(folder, "sqlite", clip, [mutant] if mutant else [], drain_s=drain_s)

    # They mostly wait: side by side they take as long as one.
    with ThreadPoolExecutor(len(MUTANTS) + 1) as pool:
        found = dict(zip([None, *MUTANTS], pool.map(play, [None, *MUTANTS]), strict=True))
    assert found.pop(None) == []
    assert [name for name, violations in found.items() if not violations] == []

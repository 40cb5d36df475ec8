"""The figures in docs/reference/encode.md are of the present levels, and rise with them."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rotoscope.media.formats import FORMATS, QUALITIES
from rotoscope.schema.input import OutputType

SAVED = Path(__file__).parents[2] / "docs" / "measured" / "encode.json"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(SAVED.read_text())["rows"]
    return found


def test_the_figures_are_of_the_present_levels(rows: list[dict[str, Any]]) -> None:
    """After a change of a level, `python -m bench.encode --save` measures again."""
    assert [(row["output_type"], row["quality"], row["settings"]) for row in rows] == [
        (name, quality, dict(form.levels[quality]))
        for name, form in FORMATS.items()
        for quality in QUALITIES
    ]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("measure", ["megabytes", "psnr_db", "ssim", "vif"])
def test_each_level_was_measured_larger_and_better(
    rows: list[dict[str, Any]], name: OutputType, measure: str
) -> None:
    """Bytes and all three measures of likeness."""
    measured = [row[measure] for row in rows if row["output_type"] == name]
    assert all(low < high for low, high in pairwise(measured)), measured

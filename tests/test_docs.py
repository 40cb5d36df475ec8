"""The generated reference is the one in the repository, and every error explains itself."""

import runpy
from pathlib import Path

from rotoscope.cli.exits import MEANINGS, Exit
from rotoscope.errors import JobError, RequestError
from rotoscope.schema.input import VideoToVideoInput

DOCS = Path(__file__).parent.parent / "docs"


def test_the_reference_is_current() -> None:
    """`make docs` would change nothing."""
    pages = runpy.run_path(str(DOCS / "reference.py"))["pages"]()

    assert pages == {file.name: file.read_text() for file in (DOCS / "reference").glob("*.md")}


def test_the_page_of_the_command_line_is_current() -> None:
    """It is what `--help` says, with a code for each way to end."""
    page = "\n".join(runpy.run_path(str(DOCS / "reference.py"))["cli_page"]()) + "\n"

    assert page == (DOCS / "cli.md").read_text()
    assert set(MEANINGS) == set(Exit)


def test_every_error_has_a_sentence() -> None:
    """The documented list of errors is made of these."""
    leaves = [*RequestError.__subclasses__(), *JobError.__subclasses__()]

    assert all(leaf.__doc__ and leaf.__doc__.strip().endswith(".") for leaf in leaves)


def test_the_effect_of_every_parameter_is_measured() -> None:
    """By a test that is marked with its name; and no mark names what is no parameter."""
    tests = runpy.run_path(str(DOCS / "reference.py"))["measured"]()

    measured = {field for test in tests for field in test.fields}
    assert measured == set(VideoToVideoInput.model_fields)

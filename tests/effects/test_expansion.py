"""enable_prompt_expansion: what is used and told where the checkpoint has no writer of its own.

What a writer does is measured in tests/generation/test_expand.py: the small checkpoint has none.
"""

import pytest

from tests.effects.studio import Source, Studio

PROMPT = "sepia"


@pytest.mark.parameter("enable_prompt_expansion")
def test_the_prompt_that_was_used_is_told(studio: Studio, film: Source) -> None:
    """Another than the one as sent; or the same one, with a warning and the same clip."""
    plain = studio.order(film, prompt=PROMPT)
    asked = studio.order(film, prompt=PROMPT, enable_prompt_expansion=True)

    assert plain.manifest.prompt == plain.manifest.asked_prompt == PROMPT
    assert "enable_prompt_expansion" not in plain.warned
    assert asked.manifest.asked_prompt == PROMPT
    if asked.warned.get("enable_prompt_expansion", True):
        assert len(asked.manifest.prompt) > len(PROMPT)
        assert asked.file.read_bytes() != plain.file.read_bytes()
    else:
        assert asked.manifest.prompt == PROMPT
        assert asked.file.read_bytes() == plain.file.read_bytes()

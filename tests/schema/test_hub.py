"""Which LoRA paths name a Hugging Face repository, and what they name."""

import pytest

from rotoscope.schema.hub import HubReference


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "Lightricks/LTX-2-19b-IC-LoRA-Detailer",
            HubReference("Lightricks/LTX-2-19b-IC-LoRA-Detailer"),
        ),
        ("a/b@main", HubReference("a/b", "main")),
        ("a/b@0f1e2d/c/d.safetensors", HubReference("a/b", "0f1e2d", "c/d.safetensors")),
        ("a/b/d e.safetensors", HubReference("a/b", None, "d e.safetensors")),
    ],
)
def test_a_repository_with_or_without_revision_and_file(path: str, expected: HubReference) -> None:
    """owner/name, then perhaps @revision, then perhaps /file."""
    assert HubReference.parse(path) == expected


@pytest.mark.parametrize(
    "path",
    ["name", "/etc/passwd", "./a/b", "../a", "a/../b", "a/b/../../c", "a//b", "a/b@", "a/.b",
     "https://a.test/b", "a\\b/c", "a/b\0", "~/a", "a/b--c"],
)  # fmt: skip
def test_everything_else_is_of_another_form(path: str) -> None:
    """A path that could mean a local file never means a repository."""
    assert HubReference.parse(path) is None

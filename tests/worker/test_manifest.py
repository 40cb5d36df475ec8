"""What the manifest says of a job's files."""

from pathlib import Path

from rotoscope.generation.loras import LoraFile
from rotoscope.schema.hub import HubReference
from rotoscope.schema.output import LoraFacts
from rotoscope.worker.manifest import _traced

COMMIT = "c" * 40


def facts_of(path: str) -> LoraFacts:
    return LoraFacts(path=path, scale=1.0, sha256="0" * 64, rank=4, layers=2)


def test_a_lora_of_a_repository_has_its_commit() -> None:
    """A branch may move on; one from elsewhere is known by its hash alone."""
    path, origin = Path("l.safetensors"), HubReference("a/style", COMMIT, "l.safetensors")
    file = LoraFile(path, "a/style", 1.0, "0" * 64, origin=origin)
    traced = _traced(facts_of("a/style"), file)

    assert traced.source == f"a/style@{COMMIT}/l.safetensors"
    assert traced.revision == COMMIT
    url = facts_of("https://h.test/l.safetensors")
    assert _traced(url, LoraFile(path, url.path, 1.0, "0" * 64)) == url

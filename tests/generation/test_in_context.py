"""What the IC-LoRAs of a request want of its reference; those that disagree are refused."""

from dataclasses import replace

import pytest

from rotoscope.errors import LoraIncompatibleError
from rotoscope.generation.in_context import in_context_of
from rotoscope.generation.plan import MAX_DOWNSCALE, InContext
from rotoscope.generation.weights import CHECKPOINTS
from tests.generation.conftest import MakeLora

DEV = CHECKPOINTS["ltx-2-19b-dev"]
DETAILER = DEV.ic_loras["detailer"]


def wanting(factor: int) -> dict[str, str]:
    return {"reference_downscale_factor": str(factor)}


def test_styles_ask_nothing_of_the_reference(lora_of: MakeLora) -> None:
    """Only IC-LoRAs look at it."""
    assert in_context_of([], DEV) == InContext()
    assert in_context_of([lora_of(), lora_of()], DEV) == InContext()


def test_the_factor_comes_from_the_file(lora_of: MakeLora) -> None:
    """Whatever stands beside it."""
    files = [lora_of(), lora_of(metadata=wanting(2))]

    assert in_context_of(files, DEV) == InContext(1, downscale=2)


def test_two_that_agree_both_count(lora_of: MakeLora) -> None:
    """One reference serves them both."""
    files = [lora_of(metadata=wanting(2)), lora_of(metadata=wanting(2))]

    assert in_context_of(files, DEV) == InContext(2, downscale=2)


def test_two_that_disagree_are_refused_with_both_names(lora_of: MakeLora) -> None:
    """Also where one is known by its name alone, which wants the full size."""
    half, whole = lora_of(metadata=wanting(2)), replace(lora_of(), in_context=True, field="ic_lora")

    with pytest.raises(LoraIncompatibleError, match=f"(?s){whole.ref}.*{half.ref}") as caught:
        in_context_of([half, lora_of(), whole], DEV)

    assert caught.value.field == "ic_lora"
    assert "1 times smaller" in str(caught.value)


def test_a_factor_beyond_what_can_be_made_is_refused(lora_of: MakeLora) -> None:
    """Sides would have to be multiples of a thousand pixels and more."""
    assert in_context_of([lora_of(metadata=wanting(MAX_DOWNSCALE))], DEV).downscale == MAX_DOWNSCALE
    with pytest.raises(LoraIncompatibleError, match="9 times smaller"):
        in_context_of([lora_of(metadata=wanting(MAX_DOWNSCALE + 1))], DEV)


@pytest.mark.parametrize(
    ("refs", "alone"),
    [
        ([DETAILER], True),
        ([f"{DETAILER}@main"], True),
        ([DEV.ic_loras["canny"]], False),
        ([DETAILER, DEV.ic_loras["canny"]], False),
    ],
    ids=["alone", "revision", "another", "both"],
)
def test_the_detailer_is_known_by_its_repository(
    lora_of: MakeLora, refs: list[str], alone: bool
) -> None:
    """Its published way is taken only where nothing else acts on the source."""
    files = [replace(lora_of(), ref=ref, in_context=True) for ref in refs]

    assert in_context_of([lora_of(), *files], DEV).detailer_alone is alone

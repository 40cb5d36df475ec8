"""What a request's IC-LoRAs want of the reference, read from the headers of their files."""

from collections.abc import Sequence

from rotoscope.errors import LoraIncompatibleError
from rotoscope.generation.loras import LoraFile, wanted_downscale
from rotoscope.generation.plan import MAX_DOWNSCALE, InContext, is_detailer
from rotoscope.generation.weights import Checkpoint


def in_context_of(files: Sequence[LoraFile], checkpoint: Checkpoint) -> InContext:
    """The IC-LoRAs among `files`, and the size that all of them want their reference in.

    Raises:
        LoraIncompatibleError: Two want different sizes, or one a size that is not made here; or
            a file cannot be read.
    """
    wanted = [(file, wanted_downscale(file)) for file in files]
    controls = [(file, factor) for file, factor in wanted if factor is not None]
    if not controls:
        return InContext()
    first, downscale = controls[0]
    for file, factor in controls:
        _require_known(file, factor)
        if factor != downscale:
            raise _disagree(file, factor, first, downscale)
    detailer_alone = is_detailer([file.ref for file, _ in controls], checkpoint)
    return InContext(len(controls), downscale, detailer_alone)


def _require_known(file: LoraFile, factor: int) -> None:
    if factor > MAX_DOWNSCALE:
        raise LoraIncompatibleError(
            f"The LoRA {file.ref} wants a reference {factor} times smaller than the video; at "
            f"most {MAX_DOWNSCALE} times can be made.",
            field=file.field,
        )


def _disagree(
    file: LoraFile, factor: int, first: LoraFile, downscale: int
) -> LoraIncompatibleError:
    return LoraIncompatibleError(
        f"The IC-LoRA {file.ref} wants a reference {factor} times smaller than the video, and "
        f"{first.ref} one {downscale} times smaller; one reference cannot be both, so send them "
        "in requests of their own.",
        field=file.field,
    )

"""LoRA files: every dialect means the same, the model comes back as it was, junk is refused."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rotoscope.errors import LoraIncompatibleError
from rotoscope.generation import loras
from rotoscope.generation.loras import LoraFile, merged, open_lora, wanted_downscale
from rotoscope.generation.mini.networks import WIDTH
from rotoscope.generation.pipeline import Pipeline
from tests.generation.conftest import MakeLora


def test_merging_adds_each_lora_at_its_scale(pipeline: Pipeline, lora_of: MakeLora) -> None:
    """Within the context the weight is W plus the sum of the deltas."""
    transformer = pipeline.models.transformer
    opened = [open_lora(lora_of(scale=scale), transformer) for scale in (0.5, 2.0)]
    name = next(iter(opened[0].deltas))
    before = transformer.get_submodule(name).weight.clone()
    change = sum(
        lora.deltas[name].weight * lora.deltas[name].up_OR @ lora.deltas[name].down_RI
        for lora in opened
    )

    with merged(transformer, opened):
        torch.testing.assert_close(transformer.get_submodule(name).weight, before + change)

    assert torch.equal(transformer.get_submodule(name).weight, before)


@pytest.mark.parametrize("free", [10**12, 0], ids=["roomy", "tight"])
def test_the_model_comes_back_bit_for_bit(
    pipeline: Pipeline, lora_of: MakeLora, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """After many swaps, one of them ended by an error, not a bit of the model has moved."""
    monkeypatch.setattr(loras, "memory_of", lambda _: free)
    transformer = pipeline.models.transformer
    before = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    opened = [open_lora(lora_of(scale=scale), transformer) for scale in (0.1, 1.0, 3.0)]
    name = next(iter(opened[0].deltas))

    for swap in range(20):
        with merged(transformer, opened[: swap % 3 + 1]):
            assert not torch.equal(transformer.get_submodule(name).weight, before[f"{name}.weight"])
    with pytest.raises(RuntimeError), merged(transformer, opened):
        raise RuntimeError

    after = transformer.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_lightricks_own_layer_names_are_known(pipeline: Pipeline, tmp_path: Path) -> None:
    """Layers outside the blocks have other names in diffusers."""
    linear = pipeline.models.transformer.proj_in
    path = tmp_path / "lora.safetensors"
    save_file(
        {
            "diffusion_model.patchify_proj.lora_A.weight": torch.ones(1, linear.in_features),
            "diffusion_model.patchify_proj.lora_B.weight": torch.ones(linear.out_features, 1),
        },
        path,
    )

    lora = open_lora(LoraFile(path, "x", 1.0, ""), pipeline.models.transformer)

    assert lora.deltas.keys() == {"proj_in"}


def test_layers_that_fit_nothing_are_named(pipeline: Pipeline, lora_of: MakeLora) -> None:
    """A file that fits in part is used in part, and says so."""
    file = lora_of(layer=lambda name: f"diffusion_model.{name}".replace("blocks.2", "blocks.47"))

    lora = open_lora(file, pipeline.models.transformer)

    assert lora.deltas
    assert all("blocks.47" in name for name in lora.unmatched)
    assert lora.unmatched


@pytest.mark.parametrize(
    ("metadata", "in_context"), [(None, False), ({"reference_downscale_factor": "1"}, True)]
)
def test_ic_loras_are_known_by_their_metadata(
    pipeline: Pipeline, lora_of: MakeLora, metadata: dict[str, str] | None, *, in_context: bool
) -> None:
    """Or by their name; test_pipeline.py tells in which pass they act."""
    lora = open_lora(lora_of(metadata=metadata), pipeline.models.transformer)

    assert lora.in_context is in_context
    known = replace(lora_of(metadata=metadata), in_context=True)
    assert open_lora(known, pipeline.models.transformer).in_context


def header(content: object, body: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + body


PAIR = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
JUNK = {
    "a zip pickle": (b"PK\x03\x04" + b"\0" * 64, "pickle"),
    "a bare pickle": (b"\x80\x04\x95" + b"\0" * 64, "pickle"),
    "an empty file": (b"", "empty"),
    "text": (b"hello, I am a LoRA", "not a safetensors"),
    "a page": (b"<!doctype html><html></html>", "not a safetensors"),
    "a header longer than the file": ((10**6).to_bytes(8, "little") + b'{"a":', "claims"),
    "a header of 10 GB": ((10**10).to_bytes(8, "little") + b'{"a":', "claims"),
    "a header that is no JSON": ((8).to_bytes(8, "little") + b"{" * 8, "not JSON"),
    "a header that is a list": ((8).to_bytes(8, "little") + b"{}\n\n[1] ", "not JSON"),
    "overlapping tensors": (
        header({"a.lora_A.weight": PAIR, "a.lora_B.weight": PAIR}, b"\0" * 8),
        "shares its bytes",
    ),
    "a file cut off": (header({"a.lora_A.weight": PAIR}, b"\0" * 3), "cut off"),
    "an entry of another form": (header({"a.lora_A.weight": [1]}), "damaged"),
    "a tensor before the file": (
        header({"a.lora_A.weight": PAIR | {"data_offsets": [-4, 4]}}, b"\0" * 4),
        "cut off",
    ),
    "a shape that is none": (
        header({"a.lora_A.weight": PAIR | {"shape": [-1, 1]}}, b"\0" * 4),
        "shape",
    ),
    "integers": (header({"a.lora_A.weight": PAIR | {"dtype": "I32"}}, b"\0" * 4), "floating-point"),
    "a name twice": (
        header({"a.lora_A.weight": PAIR, "a.lora_B.weight": PAIR}).replace(b"_B", b"_A"),
        r"names a\.lora_A\.weight twice",
    ),
    "an endless name": (header({"a" * 500: PAIR}, b"\0" * 4), "500 characters"),
    "a name that is a path": (header({"../../etc/passwd": PAIR}, b"\0" * 4), "not a tensor"),
    "a name for terminals": (header({"\x1b[2J": PAIR}, b"\0" * 4), r"\\x1b"),
    "metadata that is none": (header({"__metadata__": {"a": 1}}), "metadata"),
    "no tensors": (header({}), "no tensors"),
    "not a LoRA": (header({"vae.weight": PAIR}, b"\0" * 4), "not a tensor of a LoRA"),
    "DoRA": (header({"a.dora_scale": PAIR}, b"\0" * 4), "DoRA"),
    "LoKr": (header({"a.lokr_w1": PAIR}, b"\0" * 4), "LoKr"),
    "LoHa": (header({"a.hada_w1_a": PAIR}, b"\0" * 4), "LoHa"),
    "OFT": (header({"a.oft_blocks": PAIR}, b"\0" * 4), "OFT"),
}


@pytest.mark.parametrize("kind", JUNK)
def test_junk_is_refused_by_name(pipeline: Pipeline, tmp_path: Path, kind: str) -> None:
    """Each kind of wrong file gets a reason and the field it came from."""
    content, reason = JUNK[kind]
    path = tmp_path / "lora.safetensors"
    path.write_bytes(content)

    with pytest.raises(LoraIncompatibleError, match=reason) as caught:
        open_lora(LoraFile(path, "mine", 1.0, "", "loras.2.path"), pipeline.models.transformer)

    assert caught.value.field == "loras.2.path"
    assert "mine" in str(caught.value)


def save_pair(path: Path, layer: str, down: torch.Tensor, up: torch.Tensor) -> LoraFile:
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, path)
    return LoraFile(path, "mine", 1.0, "", "loras.0.path")


LAYER = "diffusion_model.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("layer", "down", "up", "reason"),
    [
        (
            "diffusion_model.double_blocks.0.img_attn",
            (4, WIDTH),
            (WIDTH, 4),
            "none of its 1 layers .* Flux",
        ),
        (LAYER, (4, 4096), (4096, 4), "another model, by its looks for LTX-2 19B"),
        (LAYER, (4, WIDTH), (WIDTH, 8), "another model"),
        (LAYER, (0, WIDTH), (WIDTH, 0), "another model"),
    ],
    ids=["unknown layers", "other widths", "two ranks", "no rank"],
)
def test_a_lora_for_another_model_is_refused(
    pipeline: Pipeline,
    tmp_path: Path,
    layer: str,
    down: tuple[int, int],
    up: tuple[int, int],
    reason: str,
) -> None:
    """Shapes and names are compared with the open checkpoint's."""
    file = save_pair(tmp_path / "a.safetensors", layer, torch.ones(down), torch.ones(up))

    with pytest.raises(LoraIncompatibleError, match=reason):
        open_lora(file, pipeline.models.transformer)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("part", ["lora_A.weight", "lora_B.weight", "alpha"])
def test_values_that_cannot_be_weights_are_refused(
    pipeline: Pipeline, tmp_path: Path, part: str, bad: float
) -> None:
    """One bad number would turn every later frame into noise."""
    tensors = {
        f"{LAYER}.lora_A.weight": torch.ones(4, WIDTH),
        f"{LAYER}.lora_B.weight": torch.ones(WIDTH, 4),
        f"{LAYER}.alpha": torch.ones(1),
    }
    tensors[f"{LAYER}.{part}"].view(-1)[-1] = bad
    save_file(tensors, tmp_path / "a.safetensors")

    with pytest.raises(LoraIncompatibleError, match="not finite"):
        open_lora(LoraFile(tmp_path / "a.safetensors", "x", 1, ""), pipeline.models.transformer)


def test_a_pickle_is_known_by_its_name_too(pipeline: Pipeline, tmp_path: Path) -> None:
    """An old one starts like nothing in particular."""
    path = tmp_path / "lora.ckpt"
    path.write_bytes(b"(dp0\nS'weights'\np1\n")

    with pytest.raises(LoraIncompatibleError, match="pickle"):
        open_lora(LoraFile(path, "mine", 1.0, ""), pipeline.models.transformer)


def test_a_large_wrong_file_is_not_read(pipeline: Pipeline, tmp_path: Path) -> None:
    """A checkpoint in a LoRA's place is refused by its header: of 4 GB, no tensor is touched."""
    size = 4_000_000_000
    path = tmp_path / "lora.safetensors"
    entry = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}
    head = header({"diffusion_model.proj_in.weight": entry})
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)  # a hole: it takes no room on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(LoraIncompatibleError, match="not a tensor of a LoRA"):
        open_lora(LoraFile(path, "mine", 1.0, ""), pipeline.models.transformer)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # in KiB


def test_one_matrix_alone_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    """A pair with its other half missing is damage, not a LoRA."""
    path = tmp_path / "a.safetensors"
    save_file({f"{LAYER}.lora_A.weight": torch.ones(4, WIDTH)}, path)

    with pytest.raises(LoraIncompatibleError, match="only one"):
        open_lora(LoraFile(path, "mine", 1.0, ""), pipeline.models.transformer)


def test_a_smaller_reference_is_read_from_the_header(pipeline: Pipeline, lora_of: MakeLora) -> None:
    """A whole number; without it, only a LoRA known by its name is an IC-LoRA."""
    half, plain = lora_of(metadata={"reference_downscale_factor": "2"}), lora_of()

    assert open_lora(half, pipeline.models.transformer).reference_downscale_factor == 2
    assert wanted_downscale(half) == 2
    assert wanted_downscale(plain) is None
    assert wanted_downscale(replace(plain, in_context=True)) == 1


@pytest.mark.parametrize("factor", ["0", "-2", "1.5", "half", "", "9" * 50])
def test_a_factor_that_is_no_number_is_refused(lora_of: MakeLora, factor: str) -> None:
    """Rather than run with the wrong reference."""
    with pytest.raises(LoraIncompatibleError, match="reference_downscale_factor"):
        wanted_downscale(lora_of(metadata={"reference_downscale_factor": factor}))

"""The same LoRA in every dialect, which model a foreign one looks made for, a thousand swaps."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rotoscope.errors import LoraIncompatibleError
from rotoscope.generation.loras import Delta, Lora, LoraFile, merged, open_lora

RANK, WIDTH = 4, 16
AB = ("lora_A.weight", "lora_B.weight")
DOWN_UP = ("lora_down.weight", "lora_up.weight")
LIGHTRICKS = {"proj_in": "patchify_proj", "time_embed": "adaln_single"}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(WIDTH, WIDTH)])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1 = Attention()
        self.attn2 = Attention()


class Transformer(nn.Module):
    """Layers of diffusers' names in the smallest size."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_in = nn.Linear(8, WIDTH)
        self.time_embed = nn.ModuleDict({"linear": nn.Linear(WIDTH, 3 * WIDTH)})
        self.transformer_blocks = nn.ModuleList([Block() for _ in range(2)])


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer().to(torch.bfloat16)


def matrices(model: nn.Module, *, seed: int = 1) -> dict[str, tuple[Tensor, Tensor]]:
    """A, B for each layer; its rank differs from layer to layer."""
    rng = torch.Generator().manual_seed(seed)
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    return {
        name: (
            torch.randn(RANK + i % 3, layer.in_features, generator=rng),
            torch.randn(layer.out_features, RANK + i % 3, generator=rng),
        )
        for i, (name, layer) in enumerate(layers)
    }


def lightricks(name: str) -> str:
    first, dot, rest = name.partition(".")
    return LIGHTRICKS.get(first, first) + dot + rest


def short(name: str) -> str:
    """As trainers that drop `to_`."""
    return name.replace("to_out.0", "to_out").replace("to_q", "q").replace("to_k", "k_proj")


def flat(name: str) -> str:
    return name.replace(".", "_")


DIALECTS: Mapping[str, tuple[Callable[[str], str], tuple[str, str], bool]] = {
    "official": ("diffusion_model.{}".format, AB, False),
    "official, Lightricks' names": (lambda n: f"diffusion_model.{lightricks(n)}", AB, False),
    "diffusers": ("transformer.{}".format, AB, False),
    "no prefix": ("{}".format, AB, False),
    "no prefix, Lightricks' names": (lightricks, AB, False),
    "peft": ("base_model.model.{}".format, AB, False),
    "peft, named adapter": (
        "base_model.model.{}".format,
        ("lora_A.default.weight", "lora_B.default.weight"),
        False,
    ),
    "peft, adapter of another name": ("{}".format, ("lora_A.my_style", "lora_B.my_style"), False),
    "peft around diffusers": ("base_model.model.transformer.{}".format, AB, False),
    "whole model": ("model.diffusion_model.{}".format, AB, True),
    "down and up": ("diffusion_model.{}".format, DOWN_UP, False),
    "down and up with alpha": ("diffusion_model.{}".format, DOWN_UP, True),
    "old diffusers": ("transformer.{}".format, ("lora.down.weight", "lora.up.weight"), False),
    "q, k, v": (lambda n: f"diffusion_model.{short(n)}", AB, False),
    "kohya": (lambda n: f"lora_unet_{flat(n)}", DOWN_UP, True),
    "kohya, Lightricks' names": (lambda n: f"lora_unet_{flat(lightricks(n))}", DOWN_UP, True),
    "kohya, transformer": (lambda n: f"lora_transformer_{flat(n)}", DOWN_UP, True),
}


def save(
    path: Path,
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    dialect: str = "official",
    *,
    alpha: float = 1.0,
    metadata: dict[str, str] | None = None,
) -> LoraFile:
    """`alpha` in ranks: 1 says what a file without alpha does."""
    layer, names, with_alpha = DIALECTS[dialect]
    tensors: dict[str, Tensor] = {}
    for name, pair in pairs.items():
        tensors |= {f"{layer(name)}.{part}": m for part, m in zip(names, pair, strict=True)}
        if with_alpha:
            tensors[f"{layer(name)}.alpha"] = torch.tensor(alpha * len(pair[0]))
    save_file(tensors, path, metadata)
    return LoraFile(path, path.name, 0.7, "", "loras.0.path")


def change(delta: Delta) -> Tensor:
    return delta.weight * (delta.up_OR @ delta.down_RI)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_means_the_same_bit_for_bit(
    model: Transformer, tmp_path: Path, dialect: str
) -> None:
    """Every layer is found, and each change is 0.7 B A exactly."""
    pairs = matrices(model)

    lora = open_lora(save(tmp_path / "a.safetensors", pairs, dialect), model)

    assert lora.unmatched == ()
    assert lora.deltas.keys() == pairs.keys()
    assert lora.rank == RANK + 2
    for name, (down, up) in pairs.items():
        assert torch.equal(change(lora.deltas[name]), 0.7 * (up @ down))


def test_alpha_scales_each_layer_by_its_own_rank(model: Transformer, tmp_path: Path) -> None:
    """Alpha of half the rank is half the change, whatever the rank."""
    file = save(tmp_path / "a.safetensors", matrices(model), "kohya", alpha=0.5)

    for delta in open_lora(file, model).deltas.values():
        assert delta.weight == pytest.approx(0.35)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_narrow_floats_are_read(model: Transformer, tmp_path: Path, dtype: torch.dtype) -> None:
    """Eight bits too: they are widened when they are merged."""
    pairs = {name: (a.to(dtype), b.to(dtype)) for name, (a, b) in matrices(model).items()}
    lora = open_lora(save(tmp_path / "a.safetensors", pairs), model)
    weight = model.proj_in.weight
    down, up = (one.float() for one in pairs["proj_in"])
    wanted = torch.addmm(weight.float(), up, down, alpha=0.7).to(weight.dtype)

    with merged(model, [lora]):
        assert torch.equal(model.proj_in.weight, wanted)


def test_one_matrix_under_two_names_is_refused(model: Transformer, tmp_path: Path) -> None:
    """Which of them counts would be chance: within a layer, and between dialects."""
    a, b = matrices(model)["proj_in"]
    path = tmp_path / "a.safetensors"
    same = {"proj_in.lora_A.weight": a, "proj_in.lora_down.weight": a, "proj_in.lora_B.weight": b}
    save_file({name: one.clone() for name, one in same.items()}, path)
    with pytest.raises(LoraIncompatibleError, match="the same matrix"):
        open_lora(LoraFile(path, "mine", 1, ""), model)

    twice = {
        f"{layer}.{part}": one.clone()
        for layer in ("proj_in", "diffusion_model.patchify_proj")
        for part, one in zip(AB, (a, b), strict=True)
    }
    save_file(twice, path)
    with pytest.raises(LoraIncompatibleError, match="proj_in twice"):
        open_lora(LoraFile(path, "mine", 1, ""), model)


def test_an_alpha_may_be_a_whole_number(model: Transformer, tmp_path: Path) -> None:
    """As some trainers write it."""
    a, b = matrices(model)["proj_in"]
    path = tmp_path / "a.safetensors"
    pair = {"proj_in.lora_A.weight": a, "proj_in.lora_B.weight": b}
    save_file({**pair, "proj_in.alpha": torch.tensor(2 * len(a))}, path)

    assert open_lora(LoraFile(path, "mine", 1, ""), model).deltas["proj_in"].weight == 2


def test_an_alpha_that_is_no_number_is_refused(model: Transformer, tmp_path: Path) -> None:
    """Not the first of several."""
    a, b = matrices(model)["proj_in"]
    path = tmp_path / "a.safetensors"
    pair = {"proj_in.lora_A.weight": a, "proj_in.lora_B.weight": b}
    save_file({**pair, "proj_in.alpha": torch.ones(2)}, path)

    with pytest.raises(LoraIncompatibleError, match="not one number"):
        open_lora(LoraFile(path, "mine", 1, ""), model)


FOREIGN = {
    "diffusion_model.transformer_blocks.0.attn1.to_gate_logits": "LTX-2.3 or 2.5",
    "diffusion_model.blocks.0.self_attn.q": "Wan",
    "lora_unet_blocks_0_cross_attn_k": "Wan",
    "diffusion_model.double_blocks.0.img_attn.qkv": "Flux",
    "transformer.single_transformer_blocks.3.attn.to_q": "Flux",
    "transformer.transformer_blocks.0.img_mlp.net.0.proj": "Qwen-Image",
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn1_to_q": "SDXL",
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q": "Stable Diffusion",
    "lora_te_text_model_encoder_layers_0_mlp_fc1": "a text encoder",
    "transformer.transformer_blocks.27.attn1.to_q": "LTX-Video 0.9 \\(2B\\)",
    "transformer.transformer_blocks.47.audio_attn1.to_q": "LTX-2",
}


@pytest.mark.parametrize(("layer", "family"), FOREIGN.items())
def test_a_foreign_file_is_told_what_it_looks_like(
    model: Transformer, tmp_path: Path, layer: str, family: str
) -> None:
    """With the first of its layers, under the field that named it."""
    path = tmp_path / "a.safetensors"
    save_file({f"{layer}.{AB[0]}": torch.ones(4, 2048), f"{layer}.{AB[1]}": torch.ones(8, 4)}, path)

    with pytest.raises(LoraIncompatibleError, match=f"by its looks for {family}") as caught:
        open_lora(LoraFile(path, "mine", 1, "", "loras.3.path"), model)

    assert caught.value.field == "loras.3.path"
    assert layer in str(caught.value)


def test_a_newer_models_lora_is_refused_though_it_fits_in_part(
    model: Transformer, tmp_path: Path
) -> None:
    """Gates that LTX-2 19B has not show that the rest was fitted to other weights."""
    gate = "transformer_blocks.0.attn1.to_gate_logits"
    pairs = matrices(model) | {gate: (torch.ones(4, WIDTH), torch.ones(8, 4))}

    with pytest.raises(LoraIncompatibleError, match=r"by its looks for LTX-2\.3 or 2\.5"):
        open_lora(save(tmp_path / "a.safetensors", pairs), model)


def test_what_a_file_says_of_itself_comes_first(model: Transformer, tmp_path: Path) -> None:
    """Its metadata, as trainers write it, made printable."""
    pairs = {"nothing.known": (torch.ones(4, 3), torch.ones(3, 4))}
    metadata = {"modelspec.architecture": "hunyuan\x1b-video/lora"}
    file = save(tmp_path / "a.safetensors", pairs, metadata=metadata)

    with pytest.raises(LoraIncompatibleError, match=r"for hunyuan\\x1b-video/lora"):
        open_lora(file, model)


def test_a_thousand_swaps_move_no_bit(model: Transformer, tmp_path: Path) -> None:
    """Of random sets of up to ten, at random scales; in bfloat16, where rounding would show."""
    rng = torch.Generator().manual_seed(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    files = [save(tmp_path / f"{i}.safetensors", matrices(model, seed=i)) for i in range(10)]
    library = [open_lora(file, model) for file in files]

    for _ in range(1000):
        merge_some(model, library, rng, before)

    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def merge_some(
    model: Transformer,
    library: list[Lora],
    rng: torch.Generator,
    before: Mapping[str, Tensor],
) -> None:
    count = int(torch.randint(1, 11, (), generator=rng))
    chosen = [library[i] for i in torch.randperm(10, generator=rng)[:count].tolist()]
    with merged(model, chosen):
        assert not torch.equal(model.proj_in.weight, before["proj_in.weight"])

"""Which model a LoRA file looks made for, by its layers' names and widths or by what it says.

A guess for the text of an error; what a file is refused for is that it does not fit.
"""

import re
from collections.abc import Collection, Mapping

NEWER = re.compile(r"to_gate_logits|prompt_adaln|prompt_scale_shift")
"""Layers of LTX-2.3 and 2.5 that LTX-2 has not; the others have the same names and shapes."""

# Layers that one family has and the others do not; the first that is found names it.
_MARKS = (
    (NEWER.pattern, "LTX-2.3 or 2.5"),
    (r"audio_attn|audio_to_video|video_to_audio|audio_ff|av_c", "LTX-2"),
    (r"double_blocks|single_blocks|single_transformer_blocks", "Flux or HunyuanVideo"),
    (r"\bimg_mlp|\btxt_mlp|_(?:img|txt)_mlp", "Qwen-Image"),
    (r"joint_blocks|attn\.add_[qkv]_proj", "Stable Diffusion 3"),
    (r"lora_te2_|attentions[._]\d+[._]transformer_blocks[._][1-9]", "SDXL"),
    (r"down_blocks|up_blocks|mid_block|input_blocks|output_blocks", "Stable Diffusion"),
    (r"blocks[._]\d+[._](?:self|cross)_attn", "Wan"),
    (r"lora_te\d?_|text_encoder|text_model", "a text encoder"),
)
_LTX = re.compile(r"transformer_blocks[._]\d+[._](?:attn[12]|ff)\b")
# Both are 4096 wide with layers of the same names.
_LTX_WIDTHS = {2048: "LTX-Video 0.9 (2B)", 4096: "LTX-2 19B or LTX-Video 0.9 (13B)"}
_SAYS = ("modelspec.architecture", "ss_base_model_version", "base_model", "model", "model_version")


def family_of(
    layers: Mapping[str, Collection[tuple[int, ...]]], metadata: Mapping[str, str]
) -> str | None:
    """The model that these layers, each with its tensors' shapes, look made for.

    What the file says of itself comes first. None where nothing tells.
    """
    for key in _SAYS:
        if text := metadata.get(key, "").strip():
            return ascii(text[:60])[1:-1]
    names = "\n".join(layers)
    for pattern, family in _MARKS:
        if re.search(pattern, names):
            return family
    found = (
        _LTX_WIDTHS.get(_width(shapes)) for name, shapes in layers.items() if _LTX.search(name)
    )
    return next((family for family in found if family), None)


def _width(shapes: Collection[tuple[int, ...]]) -> int:
    return max((side for shape in shapes for side in shape), default=0)

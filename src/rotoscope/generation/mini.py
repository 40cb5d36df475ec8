"""Make the `mini` checkpoint: every class of LTX-2 19B, tiny, with random weights.

It is written once, in diffusers' layout, and then opened like any other checkpoint. The weights
come from a fixed seed, so that two machines with the same torch make the same files. Its geometry
is the real one: 32 x 32 x 8 pixels a latent, 25 audio latents a second, 24 kHz stereo.
"""

import tempfile
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2LatentUpsamplerModel, LTX2TextConnectors, LTX2Vocoder
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from rotoscope.schema.input import DEFAULT_NEGATIVE_PROMPT

SEED = 19_000_000_000
LATENT_CHANNELS = 16
MEL_BINS = 32
AUDIO_CHANNELS = 4 * MEL_BINS // 4
TEXT_WIDTH = 64
LORA_RANK = 4
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
# Words the tokenizer knows whole; anything else is spelt in bytes.
WORDS = (
    DEFAULT_NEGATIVE_PROMPT,
    "black-and-white video, a girl is playing a guitar, film grain",
    "a man, a woman, people, an animal, a street, a garden, the sea, a city at night, in colour",
    "oil painting, watercolour, pencil drawing, anime, sepia, warm light, cold light, cinematic",
)


def make_mini(folder: Path) -> Path:
    """Write the checkpoint to `folder`, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".mini-") as temporary:
        draft = Path(temporary) / "mini"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            _write_parts(draft)
        try:
            draft.rename(folder)
        except OSError:
            # Another process has made the same files meanwhile.
            if not folder.is_dir():
                raise
    return folder


def _write_parts(folder: Path) -> None:
    tokenizer = _tokenizer()
    transformer = _transformer()
    transformer.save_pretrained(folder / "transformer")
    _video_vae().save_pretrained(folder / "vae")
    _audio_vae().save_pretrained(folder / "audio_vae")
    _vocoder().save_pretrained(folder / "vocoder")
    _connectors().save_pretrained(folder / "connectors")
    _upsampler().save_pretrained(folder / "latent_upsampler")
    _text_encoder(len(tokenizer)).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    save_file(_refine_lora(transformer), folder / "distilled_lora.safetensors")


def _transformer() -> LTX2VideoTransformer3DModel:
    return LTX2VideoTransformer3DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_attention_heads=4,
        attention_head_dim=16,
        cross_attention_dim=64,
        audio_in_channels=AUDIO_CHANNELS,
        audio_out_channels=AUDIO_CHANNELS,
        audio_num_attention_heads=4,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=32,
        num_layers=4,
        caption_channels=TEXT_WIDTH,
        rope_type="split",
    )


def _video_vae() -> AutoencoderKLLTX2Video:
    return AutoencoderKLLTX2Video(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(32, 64, 128, 256),
        decoder_block_out_channels=(32, 64, 128),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )


def _audio_vae() -> AutoencoderKLLTX2Audio:
    return AutoencoderKLLTX2Audio(
        base_channels=AUDIO_CHANNELS,
        ch_mult=(1, 2, 2),
        num_res_blocks=1,
        resolution=MEL_BINS,
        latent_channels=4,
        mel_bins=MEL_BINS,
    )


def _vocoder() -> LTX2Vocoder:
    return LTX2Vocoder(in_channels=2 * MEL_BINS, hidden_channels=64)


def _connectors() -> LTX2TextConnectors:
    heads = {"num_attention_heads": 4, "attention_head_dim": 16, "num_layers": 1}
    return LTX2TextConnectors(
        caption_channels=TEXT_WIDTH,
        text_proj_in_factor=3,
        rope_type="split",
        **{f"video_connector_{name}": value for name, value in heads.items()},
        **{f"audio_connector_{name}": value for name, value in heads.items()},
    )


def _upsampler() -> LTX2LatentUpsamplerModel:
    return LTX2LatentUpsamplerModel(
        in_channels=LATENT_CHANNELS, mid_channels=32, num_blocks_per_stage=1
    )


def _text_encoder(vocabulary: int) -> Gemma3ForConditionalGeneration:
    text = Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level pairs merged within words only: a prompt never becomes one unseen token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        min_frequency=1,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL_TOKENS,
        padding_side="left",
    )


def _refine_lora(transformer: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A LoRA in the published key layout, as the real checkpoint has for its second stage."""
    tensors = {}
    for name, module in transformer.named_modules():
        if isinstance(module, torch.nn.Linear) and ".attn1." in name:
            rows, columns = module.weight.shape
            key = f"diffusion_model.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(LORA_RANK, columns) / columns**0.5
            tensors[f"{key}.lora_B.weight"] = torch.randn(rows, LORA_RANK) * 0.01
    return tensors

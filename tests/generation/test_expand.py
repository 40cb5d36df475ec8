"""Prompt expansion: the real path, with a Gemma 3 of a few random layers as its writer."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Model,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from rotoscope.generation import expand
from rotoscope.generation.expand import CONTROLLED, END_OF_TURN, FREE, expanded, instruction_for
from rotoscope.generation.models import Models
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.text import cut_prompts
from rotoscope.generation.tidy import UselessError, tidy
from rotoscope.generation.weights import CHECKPOINTS
from tests.generation.conftest import MakePlan, make_source

ASKED = {
    "enable_prompt_expansion": True,
    "checkpoint": replace(CHECKPOINTS["mini"], writes_prompts=True),
}
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", END_OF_TURN)
WORDS = tuple(f"{one}{two}" for one in ["blue", "soft", "warm", "old"] for two in range(16))


def quiet(stage: str, done: int, steps: int) -> None:
    """Tells nobody."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word is a token; the turns of Gemma are known, the chat template is not."""
    words = {word: number for number, word in enumerate((*SPECIAL, *WORDS, "end."))}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        additional_special_tokens=["<start_of_turn>", END_OF_TURN],
    )


def make_config(words: int) -> Gemma3Config:
    text = Gemma3TextConfig(
        vocab_size=words,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=28,
        patch_size=14,
    )
    return Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)


@pytest.fixture
def writer(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Models:
    """The small checkpoint, with a text encoder that knows Gemma's turns; it writes 12 tokens."""
    monkeypatch.setattr(expand, "MOST_TOKENS", 12)
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        encoder = Gemma3ForConditionalGeneration(make_config(len(tokenizer)))
    encoder = encoder.eval().requires_grad_(requires_grad=False)
    # What a random model writes need not be a sentence: the last word of each answer ends one.
    encoder.lm_head.register_forward_hook(_ends_with(tokenizer, count=12))
    writing = replace(pipeline.checkpoint, writes_prompts=True)
    return replace(pipeline.models, checkpoint=writing, tokenizer=tokenizer, text_encoder=encoder)


def _ends_with(tokenizer: PreTrainedTokenizerFast, count: int) -> Callable[..., torch.Tensor]:
    """Plain words alone, then a full stop, then the end of the turn, in place of chance."""
    calls = 0

    def choose(module: object, inputs: object, logits_BLV: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls = calls % count + 1
        logits_BLV = logits_BLV.clone()
        logits_BLV[..., : len(SPECIAL)] = -torch.inf
        if calls == count - 1:
            logits_BLV[..., tokenizer.convert_tokens_to_ids("end.")] = 1e4
        if calls == count:
            logits_BLV[..., tokenizer.convert_tokens_to_ids(END_OF_TURN)] = 1e4
        return logits_BLV

    return choose


@pytest.mark.parameter("enable_prompt_expansion")
def test_the_text_encoder_writes_the_prompt(writer: Models, plan_of: MakePlan) -> None:
    """What it wrote replaces the prompt, without the instruction and the marks of turns."""
    plan = plan_of(**ASKED)
    steps: list[tuple[str, int, int]] = []
    made, warnings = expanded(writer, plan, lambda *step: steps.append(step))

    assert warnings == ()
    *words, last = made.prompt.split()
    assert len(words) == 10
    assert set(words) <= {*WORDS, "end."}
    assert last == "end."
    assert replace(made, prompt=plan.prompt) == plan
    assert steps == [("expand", done, 12) for done in range(13)]


def test_the_seed_decides_what_is_written(writer: Models, plan_of: MakePlan) -> None:
    """The same again for the same seed, whatever else was drawn; another text for another."""
    plans = [plan_of(**ASKED, seed=seed) for seed in (1, 1, 2, -3)]
    prompts = [expanded(writer, plan, quiet)[0].prompt for plan in plans]

    assert prompts[0] == prompts[1]
    assert len(set(prompts)) == 3


def test_it_leaves_the_stream_of_noise_alone(writer: Models, plan_of: MakePlan) -> None:
    """Random numbers outside come out as if nothing had been written."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    expanded(writer, plan_of(**ASKED), quiet)

    assert torch.rand(1).equal(expected)


def test_only_when_asked(writer: Models, plan_of: MakePlan) -> None:
    """By default the prompt is the caller's own, and no token is written."""
    plan = plan_of()

    assert expanded(writer, plan, _never) == (plan, ())
    assert "expand" not in plan.costs
    assert next(iter(plan_of(**ASKED).costs)) == "expand"


def _never(stage: str, done: int, steps: int) -> None:
    raise AssertionError(stage)


def test_the_source_decides_the_instruction(plan_of: MakePlan) -> None:
    """With the source in it, the text leaves layout and motion alone; without, it tells them."""
    assert instruction_for(plan_of(video_strength=1)) == CONTROLLED
    assert instruction_for(plan_of(video_strength=0)) == FREE
    assert "say nothing about camera" in CONTROLLED


def test_the_instruction_and_the_prompt_reach_the_model(
    writer: Models, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the form of the tokenizer's own chat template where it has one."""
    seen: list[str] = []
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}warm1"
    monkeypatch.setattr(writer.tokenizer, "chat_template", template, raising=False)
    whole = writer.tokenizer.apply_chat_template

    def look(messages: object, **options: object) -> object:
        seen.append(whole(messages, chat_template=options["chat_template"], tokenize=False))
        return whole(messages, **options)

    monkeypatch.setattr(writer.tokenizer, "apply_chat_template", look)
    plan = plan_of(**ASKED, prompt="  blue1 old2 ")
    expanded(writer, plan, quiet)

    assert seen == [f"[system] {CONTROLLED} [user] blue1 old2 warm1"]


def test_a_failure_uses_the_prompt_as_given(
    writer: Models, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a warning; the job goes on."""

    def fail(**_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(writer.text_encoder, "generate", fail)
    plan = plan_of(**ASKED)
    made, (warning,) = expanded(writer, plan, quiet)

    assert made == plan
    assert (warning.field, warning.asked, warning.used) == ("enable_prompt_expansion", True, False)
    assert "failed" in warning.why


def test_too_slow_a_writer_is_not_waited_for(
    writer: Models, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it wrote until then depends on the machine, so none of it is used."""
    monkeypatch.setattr(expand, "MOST_SECONDS", 0)
    plan = plan_of(**ASKED)
    made, (warning,) = expanded(writer, plan, quiet)

    assert made == plan
    assert "more than 0 seconds" in warning.why


def test_the_end_of_the_job_ends_the_writing(writer: Models, plan_of: MakePlan) -> None:
    """What the report raises is no failure of the writer's."""

    def stop(stage: str, done: int, steps: int) -> None:
        if done == 2:
            raise KeyError(stage)

    with pytest.raises(KeyError):
        expanded(writer, plan_of(**ASKED), stop)


@pytest.mark.parametrize("lack", ["head", "turns"])
def test_an_encoder_that_cannot_write_is_said(writer: Models, plan_of: MakePlan, lack: str) -> None:
    """One without a head for words, or that was never taught to answer."""
    if lack == "head":
        writer = replace(writer, text_encoder=Gemma3Model(writer.text_encoder.config))
    else:
        plain = Tokenizer(WordLevel({"<unk>": 0, "<pad>": 1}, unk_token="<unk>"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>")
        writer = replace(writer, tokenizer=tokenizer)
    plan = plan_of(**ASKED)
    made, (warning,) = expanded(writer, plan, quiet)

    assert made == plan
    assert "mini cannot write" in warning.why


@pytest.mark.parameter("enable_prompt_expansion")
def test_a_clip_is_made_of_the_written_prompt(
    pipeline: Pipeline, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clip is that of the longer prompt sent as such; the answer names it."""
    longer = "film grain, sepia, a long description of warm light."
    plan = plan_of(**ASKED)
    monkeypatch.setattr(expand, "_write", lambda *_: (f'"{longer}"', True))
    made = pipeline.generate(plan, make_source(plan), None, [], quiet)
    sent = plan_of(prompt=longer)
    expected = pipeline.generate(sent, make_source(sent), None, [], quiet)

    assert made.prompt == longer
    assert made.warnings == ()
    assert (made.clip.frames_THWC == expected.clip.frames_THWC).all()


def test_mini_says_that_it_cannot(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """Its text encoder was never taught to write: the plan leaves it out, and tells."""
    plan = plan_of(enable_prompt_expansion=True)
    (warning,) = (one for one in plan.warnings if one.field == "enable_prompt_expansion")

    assert not plan.expand
    assert "expand" not in plan.costs
    assert (warning.asked, warning.used) == (True, False)
    assert "mini cannot write" in warning.why
    assert expanded(pipeline.models, plan, _never) == (plan, ())


def test_what_is_too_long_to_be_read_is_shortened(
    writer: Models, plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To whole sentences, so that it is not cut in the middle of one."""
    sentence = "blue1 soft2 warm3 end. "
    monkeypatch.setattr(expand, "_write", lambda *_: (sentence * 100, True))
    made, _ = expanded(writer, plan_of(**ASKED), quiet)

    most = writer.checkpoint.text_tokens
    assert most - 4 < len(writer.tokenizer(made.prompt).input_ids) <= most
    assert made.prompt.endswith("end.")


def test_a_prompt_that_is_cut_is_told(pipeline: Pipeline, plan_of: MakePlan) -> None:
    """So is a negative prompt, where it acts and is not the default one."""
    long = "a cat " * 100
    both = plan_of(prompt=long, negative_prompt=long)
    told = {warning.field: warning for warning in cut_prompts(pipeline.models, both)}
    assert told.keys() == {"prompt", "negative_prompt"}
    assert told["prompt"].used == "128 tokens"

    unguided = plan_of(negative_prompt=long, guidance_scale=1)
    assert list(cut_prompts(pipeline.models, unguided)) == []


# what is made of an answer


@pytest.mark.parametrize(
    "answer",
    [
        "A red bicycle in warm light.",
        "  A red bicycle\nin warm light.\n",
        '"A red bicycle in warm light."',
        "“A red bicycle in warm light.”",
        "Here is a longer prompt:\n\nA red bicycle in warm light.",
        "Sure! Here's the prompt:\n```\nA red bicycle in warm light.\n```",
        "**Expanded prompt:** A red bicycle in **warm** light.",
        "Prompt: A red bicycle in warm light.",
        "- A red bicycle\n- in warm light.",
    ],
)
def test_an_answer_becomes_one_paragraph(answer: str) -> None:
    """Without preamble, label, quotes and markup."""
    assert tidy(answer, ended=True) == "A red bicycle in warm light."


def test_words_that_look_like_a_preamble_stay() -> None:
    """A paragraph of its own is none, and quotes within the text are the text's."""
    for text in (
        'A sign says "open" and "closed".',
        "Prompting rain falls on a roof.",
        "Here is where the river bends: reeds and mist.",
        "Sure steps on gravel, a non-stop hum.",
    ):
        assert tidy(text, ended=True) == text


def test_a_broken_sentence_is_left_out() -> None:
    """Where the model had more to say than it may."""
    assert tidy("Rain falls on tin. It is ver", ended=False) == "Rain falls on tin."
    assert (
        tidy("雨が屋根に静かに降っている。光は暖かく", ended=False)
        == "雨が屋根に静かに降っている。"
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "nothing of use"),
        ("  \n", "nothing of use"),
        ("ok.", "nothing of use"),
        ("I'm sorry, but I can't help with that.", "declined"),
        ("rain rain " * 40, "no sensible text"),
        ("rain \ufffd\ufffd on a roof of tin", "no sensible text"),
        ("rain \x07 on a roof of tin", "no sensible text"),
    ],
)
def test_absurd_answers_are_not_used(answer: str, reason: str) -> None:
    """The reason goes into the warning."""
    with pytest.raises(UselessError, match=reason):
        tidy(answer, ended=True)

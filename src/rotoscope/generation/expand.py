"""A longer prompt, written by the text encoder's own language model (`enable_prompt_expansion`).

Gemma 3 encodes the prompts of LTX-2 and can also write: it is given an instruction and the prompt,
and its answer becomes the prompt. Where the source holds the result, the instruction keeps it from
describing camera, layout or motion, which are not the prompt's to decide then. Whatever goes wrong,
the prompt as given is used, and a warning says why.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from torch import LongTensor, Tensor
from transformers import BatchEncoding, StoppingCriteria, StoppingCriteriaList

from rotoscope import telemetry
from rotoscope.generation.models import Models
from rotoscope.generation.plan import Plan
from rotoscope.generation.tidy import UselessError, tidy, whole_sentences
from rotoscope.generation.walk import Report
from rotoscope.schema.output import Adjustment

log = telemetry.logger()

STAGE = "expand"
MOST_TOKENS = 400
MOST_SECONDS = 120.0
# Given in full, so that a checkpoint's own generation settings have no say; the cache grows with
# the text, since nothing here is worth compiling for.
SAMPLING = {"temperature": 0.7, "top_k": 64, "top_p": 0.95, "cache_implementation": "dynamic"}
END_OF_TURN = "<end_of_turn>"
# Gemma's turns, for a tokenizer that came without its chat template.
TURNS = (
    "{{ bos_token }}<start_of_turn>user\n{{ messages[0]['content'] }}\n\n"
    "{{ messages[1]['content'] }}<end_of_turn>\n<start_of_turn>model\n"
)

_SHARED = """\
You write prompts for a model that makes short video clips with sound. You are given a short prompt
and answer with one longer prompt: a single paragraph of plain sentences in the present tense, 60 to
150 words, in the language of the short prompt. Keep every word of the short prompt that names a
style, a material, a person, a thing or a sound, and contradict none of it. Describe colours, light,
surfaces, textures and mood. Name the sounds that fit, if the prompt leaves room for them. Quote
speech only if the prompt does. Answer with the paragraph alone: no title, no list, no remarks, no
quotation marks around it, no formatting."""
FREE = " ".join(
    f"""\
{_SHARED}
Then say what happens from the first moment to the last, where things are in the picture, and how
the camera sees them.""".split()
)
CONTROLLED = " ".join(
    f"""\
{_SHARED}
The clip is made from an existing video, which decides where everything is and how it moves. So
say nothing about camera, framing, angle, layout, positions, gestures, actions or motion beyond the
words of the short prompt, and add no person and no thing. Describe only how what is there looks and
sounds.""".split()
)


def expanded(models: Models, plan: Plan, report: Report) -> tuple[Plan, tuple[Adjustment, ...]]:
    """The plan with its prompt expanded, if it asks for that; else, or where it fails, as it is.

    The same seed gives the same expansion. `report` is told of each token; what it raises comes out
    here, anything else becomes the warning.
    """
    if not plan.expand:
        return plan, ()
    watch = _Watch(report)
    try:
        answer, ended = _write(models, plan, watch)
        prompt = tidy(answer, ended=ended)
    except UselessError as reason:
        return plan, (_unused(str(reason)),)
    except Exception as error:
        if error is watch.interruption:
            raise
        log.exception("expansion_failed")
        return plan, (_unused("the language model failed; the worker's log says how"),)
    return replace(plan, prompt=_within(models, prompt)), ()


def instruction_for(plan: Plan) -> str:
    """What the model is told; it must leave alone what the source decides, if the source acts."""
    return FREE if plan.reference is None else CONTROLLED


class _Watch(StoppingCriteria):  # type: ignore[misc] # transformers has no types
    """Looks on after each token: tells the report, and ends what takes too long."""

    def __init__(self, report: Report) -> None:
        self.interruption: BaseException | None = None
        self._report = report
        self._done = 0
        self._end = time.monotonic() + MOST_SECONDS

    def begin(self) -> None:
        self._tell()

    def __call__(self, input_ids: LongTensor, scores: Tensor, **_: Any) -> Tensor:
        self._done += 1
        self._tell()
        if time.monotonic() > self._end:
            raise UselessError(f"the language model took more than {MOST_SECONDS:g} seconds")
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def _tell(self) -> None:
        try:
            self._report(STAGE, min(self._done, MOST_TOKENS), MOST_TOKENS)
        except BaseException as error:
            self.interruption = error
            raise


def _write(models: Models, plan: Plan, watch: _Watch) -> tuple[str, bool]:
    """The model's answer, and whether it came to an end by itself."""
    chat = _chat(models, plan)
    watch.begin()
    ends = _end_tokens(models)
    cuda = [models.device] if models.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(plan.seed)
        tokens_BL = models.text_encoder.generate(
            **chat,
            do_sample=True,
            **SAMPLING,
            max_new_tokens=MOST_TOKENS,
            eos_token_id=ends,
            pad_token_id=models.tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([watch]),
        )
    answer_L = tokens_BL[0, chat["input_ids"].shape[1] :].tolist()
    ended = bool(answer_L) and answer_L[-1] in ends
    return models.tokenizer.decode(answer_L, skip_special_tokens=True), ended


def _chat(models: Models, plan: Plan) -> BatchEncoding:
    """The instruction and the prompt, as the tokens of a conversation that waits for its answer."""
    tokenizer = models.tokenizer
    template = tokenizer.chat_template or (TURNS if _knows_turns(models) else None)
    if template is None or not callable(getattr(models.text_encoder, "generate", None)):
        raise UselessError(f"the text encoder of {models.checkpoint.name} cannot write")
    messages = [
        {"role": "system", "content": instruction_for(plan)},
        {"role": "user", "content": plan.prompt.strip()},
    ]
    return tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    ).to(models.device)


def _knows_turns(models: Models) -> bool:
    return END_OF_TURN in models.tokenizer.get_vocab()


def _end_tokens(models: Models) -> list[int]:
    tokenizer = models.tokenizer
    turn = tokenizer.get_vocab().get(END_OF_TURN)
    return [token for token in (tokenizer.eos_token_id, turn) if token is not None]


def _within(models: Models, prompt: str) -> str:
    """As many whole sentences as the text encoder reads."""
    most, text = models.checkpoint.text_tokens, prompt
    while len(models.tokenizer(text).input_ids) > most:
        shorter = whole_sentences(text[:-1].rstrip(".!?…"))
        if not shorter:
            return text
        text = shorter
    return text


def _unused(why: str) -> Adjustment:
    return Adjustment(
        field="enable_prompt_expansion",
        asked=True,
        used=False,
        why=f"{why}, so the prompt was used as given",
    )

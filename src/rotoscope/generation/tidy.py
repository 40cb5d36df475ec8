"""What a language model answered, made into one paragraph, or refused; pure."""

import re
from collections import Counter

_PREAMBLE = re.compile(
    r"(?:sure|okay|ok|certainly|of course|here(?:'s| is| are)|(?:\w+ )*prompt)\b.*:", re.IGNORECASE
)
_LABEL = re.compile(
    r"(?:(?:expanded|enhanced|longer|new|video|final) )*prompt\s*:\s*", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"(?:i'm sorry|i am sorry|sorry,|i can ?not|i can't|i am unable|as an ai)\b", re.IGNORECASE
)
_MARKUP = re.compile(r"\*\*|__|`+|^[ \t]*(?:#{1,6}|[-*•]|\d+[.)])[ \t]+", re.MULTILINE)
# The second kind ends sentences of languages that put no space after them.
_SENTENCE_END = re.compile("[.!?…][\"'”\u2019)]?(?=\\s|$)|[\u3002\uff01\uff1f]")
_QUOTES = ('"', '"'), ("'", "'"), ("“", "”"), ("\u2018", "\u2019"), ("«", "»")
_SHORTEST = 12
# Longer texts in which one word is every third are those of a model that runs in circles.
_LOOPS_FROM_WORDS = 30
_LOOPS_SHARE = 1 / 3


class UselessError(Exception):
    """Why what a language model wrote is not used: the start of a sentence."""


def tidy(answer: str, *, ended: bool) -> str:
    """One paragraph without preamble, label, quotes and markup.

    Args:
        answer: What the model wrote, without its special tokens.
        ended: Whether it came to an end by itself; else its last, broken sentence is left out.

    Raises:
        UselessError: Nothing of use is left.
    """
    lines = [line.strip() for line in _MARKUP.sub("", answer).splitlines() if line.strip()]
    if len(lines) > 1 and _PREAMBLE.fullmatch(lines[0]):
        lines = lines[1:]
    text = " ".join(" ".join(lines).split())
    text = _unquoted(_LABEL.sub("", text) if _LABEL.match(text) else text)
    if not ended:
        text = whole_sentences(text)
    _require_use(text)
    return text


def whole_sentences(text: str) -> str:
    """Up to the last full stop: what was cut off in the middle says half a thing."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def _unquoted(text: str) -> str:
    inner = text[1:-1].strip()
    for opening, closing in _QUOTES:
        is_quoted = len(text) > 1 and text[0] == opening and text[-1] == closing
        if is_quoted and opening not in inner and closing not in inner:
            return inner
    return text


def _require_use(text: str) -> None:
    if len(text) < _SHORTEST:
        raise UselessError("the language model wrote nothing of use")
    if _REFUSAL.match(text):
        raise UselessError("the language model declined")
    words = text.lower().split()
    ((_, most),) = Counter(words).most_common(1)
    loops = len(words) >= _LOOPS_FROM_WORDS and most > len(words) * _LOOPS_SHARE
    if loops or not text.isprintable() or "\ufffd" in text:
        raise UselessError("the language model wrote no sensible text")

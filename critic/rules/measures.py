"""Numbers measured on the text of one completion."""

import re
from collections.abc import Callable, Mapping

_SENTENCE_END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]]*(?=\s|$)")
_FINISHED = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]*]*\s*$")
_NGRAM = 3


def words(text: str) -> int:
    """Words between white space."""
    return len(text.split())


def sentences(text: str) -> int:
    """Sentences, an unfinished last one included."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    unfinished = bool(text[ends[-1] if ends else 0 :].strip())
    return len(ends) + unfinished


def lines(text: str) -> int:
    """Lines that are not blank."""
    return sum(bool(line.strip()) for line in text.splitlines())


def finished_last_sentence(text: str) -> bool:
    """Whether the text ends as a sentence ends, closing quotes and brackets aside."""
    return _FINISHED.search(text) is not None


def repetition(text: str) -> float:
    """Share of word trigrams that occurred before, in [0, 1); 0 for fewer than three words. Case is ignored."""
    tokens = text.lower().split()
    ngrams = [tuple(tokens[start : start + _NGRAM]) for start in range(len(tokens) - _NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


MEASURES: Mapping[str, Callable[[str], bool | int | float]] = {
    "characters": len,
    "words": words,
    "sentences": sentences,
    "lines": lines,
    "finished_last_sentence": finished_last_sentence,
    "repetition": repetition,
}
"""By name; `matches`, the count of a pattern, needs the pattern and is in `critic.rules.propositions`."""

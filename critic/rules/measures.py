"""Numbers measured on the text of one completion."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

_SENTENCE_END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]]*(?=\s|$)")
_FINISHED = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]*]*\s*$")
_BULLET = re.compile(r"^[ \t]*(?:[-*+\u2022]|\d+[.)])[ \t]+\S", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n\s*\n")
_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*)\n```\s*\Z", re.DOTALL | re.IGNORECASE)
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


def paragraphs(text: str) -> int:
    """Paragraphs between blank lines."""
    return sum(bool(part.strip()) for part in _BLANK_LINES.split(text))


def bullets(text: str) -> int:
    """Items of bulleted and numbered lists."""
    return len(_BULLET.findall(text))


def finished_last_sentence(text: str) -> bool:
    """Whether the text ends as a sentence ends, closing quotes and brackets aside."""
    return _FINISHED.search(text) is not None


def repetition(text: str) -> float:
    """Share of word trigrams that occurred before, in [0, 1); 0 for fewer than three words. Case is ignored."""
    tokens = text.lower().split()
    ngrams = [tuple(tokens[start : start + _NGRAM]) for start in range(len(tokens) - _NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def reading_grade(text: str) -> float:
    """The automated readability index: years of school needed to read the text; 0 for a text without words.

    4.71 letters per word + 0.5 words per sentence - 21.43, for English. It counts letters, not syllables, so it needs
    no dictionary. Very easy text falls below 0.

    Source: Smith and Senter 1967, "Automated readability index", AMRL-TR-66-220.
    """
    count = words(text)
    letters = sum(char.isalnum() for char in text)
    return 4.71 * letters / count + 0.5 * count / sentences(text) - 21.43 if count else 0.0


def valid_json(text: str) -> bool:
    """Whether the whole text, or the one fenced block that it is, is JSON as RFC 8259 defines it."""
    fenced = _FENCE.match(text)
    try:
        json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


MEASURES: Mapping[str, Callable[[str], Any]] = {
    "characters": len,
    "words": words,
    "sentences": sentences,
    "lines": lines,
    "paragraphs": paragraphs,
    "bullets": bullets,
    "finished_last_sentence": finished_last_sentence,
    "repetition": repetition,
    "reading_grade": reading_grade,
    "valid_json": valid_json,
}
"""Measures of the text alone, by name; those with a parameter or a key are in `critic.rules.readers`."""

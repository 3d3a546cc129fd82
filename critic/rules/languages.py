"""In which language a text is written, by py3langid (a naive Bayes model over byte n-grams, 97 languages and more)."""

from functools import lru_cache
from typing import Final

from py3langid.langid import MODEL_FILE, LanguageIdentifier

_SURE: Final = 0.5
_FAMILIES: Final = {"yue": "zh", "wuu": "zh", "nn": "no"}
"""Codes folded into the one that people ask for."""


def p_language(text: str, code: str) -> float:
    """Probability in [0, 1] that the text is written in the language of an ISO 639-1 code; regions are ignored."""
    wanted = _family(code.partition("-")[0].lower())
    return min(1.0, sum(p for each, p in _ranked(text) if _family(each) == wanted))


def language(text: str) -> str | None:
    """The ISO 639-1 code of the language the text is written in; None when it is too short or mixed to tell."""
    totals: dict[str, float] = {}
    for each, p in _ranked(text):
        totals[_family(each)] = totals.get(_family(each), 0.0) + p
    best = max(totals, key=lambda code: totals[code])
    return best if totals[best] >= _SURE else None


def _family(code: str) -> str:
    return _FAMILIES.get(code, code)


@lru_cache(maxsize=1024)  # a prompt is asked about once for each of its completions
def _ranked(text: str) -> list[tuple[str, float]]:
    return _identifier().rank(text)


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

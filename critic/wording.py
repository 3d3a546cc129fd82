"""Texts as words, so that spelling, punctuation and spaces tell no two texts apart; and sketches of them (MinHash).

Source: Broder 1997 (shingles and min-wise hashing).
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, Self

import rensa

SHINGLE_WORDS: Final = 3
PERMUTATIONS: Final = 120
BANDS: Final = 20
"""Of 6 hashes: texts with a Jaccard similarity of 0.8 meet in one of them with a chance of 0.998, of 0.5 with 0.27."""
_SEED: Final = 42
_RENSA: Any = rensa  # has no types

# Languages that put no spaces between words are compared character by character.
_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text, in order, without case, accents of compatibility forms, and punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shingles(text: str) -> set[str]:
    """Runs of three words; a shorter text is one shingle. Never empty."""
    found = words(text)
    if len(found) <= SHINGLE_WORDS:
        return {" ".join(found) or text.strip()}
    return {" ".join(found[at : at + SHINGLE_WORDS]) for at in range(len(found) - SHINGLE_WORDS + 1)}


class Sketch(Protocol):
    """The MinHash signature of a set, of 120 hashes: 480 bytes."""

    def jaccard(self, other: Self) -> float:
        """Estimate of |both| / |either|, with a standard error of 0.05 at most."""
        ...


class Index(Protocol):
    """Finds the sketches that may be alike, without comparing with all."""

    def insert(self, key: int, minhash: Sketch) -> None:
        """Remember a sketch."""
        ...

    def query(self, minhash: Sketch) -> list[int]:
        """Keys of sketches that share a band, in no order."""
        ...


def sketch(items: Iterable[str]) -> Sketch:
    """The signature of a set."""
    found = _RENSA.RMinHash(num_perm=PERMUTATIONS, seed=_SEED)
    found.update(list(items))
    return found


def index(threshold: float) -> Index:
    """An empty index."""
    return _RENSA.RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=BANDS)


def runs(found: Sequence[str], length: int) -> Iterable[tuple[int, str]]:
    """Places and texts of the runs of so many words."""
    return ((at, " ".join(found[at : at + length])) for at in range(len(found) - length + 1))

"""What a set of samples is like. Pure functions of texts and numbers, torch-free.

Words are what white space separates, in lower case; each function says what it is on nothing.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

BOILERPLATE_WORDS = 5
BOILERPLATE_SHARE = 0.05
"""A 5-gram in more of the policy's samples than this is boilerplate, if it is in fewer of the reference's than"""
REFERENCE_SHARE = 0.005
REPETITIVE = 0.2
"""A sample is repetitive where more of its word trigrams than this share occurred before in it."""
_OPENING = re.compile(r"^.*?[.?!](?=\s|$)", re.DOTALL)

Ngram = tuple[str, ...]


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.lower().split()


def ngrams(tokens: Sequence[str], n: int) -> list[Ngram]:
    """The n-grams of a text in order."""
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value from 1, ties sharing the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for i in order[start : end + 1]:
            found[i] = (start + end) / 2 + 1
        start = end + 1
    return found


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Rank correlation in [-1, 1]; None where one of the two does not vary."""
    a, b = ranks(x), ranks(y)
    centre = (len(a) + 1) / 2
    spread = math.sqrt(sum((r - centre) ** 2 for r in a) * sum((r - centre) ** 2 for r in b))
    if spread == 0:
        return None
    return sum((r - centre) * (s - centre) for r, s in zip(a, b, strict=True)) / spread


def within_group_spearman(groups: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float | None:
    """The mean of the rank correlations within each group; None where none of them has one.

    Across prompts, length and reward may correlate because long prompts are easy; within a prompt they may not.
    """
    found = [correlation for x, y in groups if (correlation := spearman(x, y)) is not None]
    return fmean(found) if found else None


def boilerplate(samples: Sequence[str], reference: Sequence[str]) -> tuple[float, list[str]]:
    """(share of samples that hold boilerplate, its 5-grams, most frequent first); 0 of no samples.

    Boilerplate is in more than 5 % of the samples and in less than 0.5 % of the reference's. With fewer than 200
    reference samples that means: in none of them.
    """
    own, other = ([set(ngrams(words(text), BOILERPLATE_WORDS)) for text in texts] for texts in (samples, reference))
    seen, known = (Counter(gram for grams in sets for gram in grams) for sets in (own, other))
    formulas = {
        gram
        for gram, count in seen.items()
        if count > BOILERPLATE_SHARE * len(own) and count > 1 and known[gram] < max(REFERENCE_SHARE * len(other), 1)
    }
    share = fmean(bool(grams & formulas) for grams in own) if own else 0.0
    return share, [" ".join(gram) for gram, _ in seen.most_common() if gram in formulas]


def distinct(samples: Sequence[str], n: int = 2) -> float:
    """Different n-grams over n-grams, of all samples together, in [0, 1]; 0 where there are none.

    Source: Li et al. 2016, arXiv:1510.03055.
    """
    found = [gram for text in samples for gram in ngrams(words(text), n)]
    return len(set(found)) / len(found) if found else 0.0


def self_bleu(samples: Sequence[str], most: int = 64, n: int = 4) -> float:
    """How much each sample is like the others, in [0, 1]: the mean BLEU of each against the rest; 0 below two samples.

    Add-one smoothed above single words. Source: Zhu et al. 2018, arXiv:1802.01886.

    Args:
        most: samples that are looked at, the first ones; the work grows with their square.
        n: longest n-grams that count.
    """
    texts = [tokens for text in samples[:most] if (tokens := words(text))]
    if len(texts) < 2:
        return 0.0
    grams = [[Counter(ngrams(tokens, k)) for k in range(1, n + 1)] for tokens in texts]
    best, second, owner = _largest_counts(grams, n)
    return fmean(_bleu(i, texts, grams, best, second, owner) for i in range(len(texts)))


_Counts = list[dict[Ngram, int]]


def _largest_counts(grams: list[list[Counter[Ngram]]], n: int) -> tuple[_Counts, _Counts, _Counts]:
    """For each n-gram its largest count in a text, its largest in any other text, and which text has the first."""
    best: _Counts = [{} for _ in range(n)]
    second: _Counts = [{} for _ in range(n)]
    owner: _Counts = [{} for _ in range(n)]
    for i, counters in enumerate(grams):
        for k, counter in enumerate(counters):
            for gram, count in counter.items():
                if count > best[k].get(gram, 0):
                    second[k][gram] = best[k].get(gram, 0)
                    best[k][gram], owner[k][gram] = count, i
                elif count > second[k].get(gram, 0):
                    second[k][gram] = count
    return best, second, owner


def _bleu(
    i: int, texts: list[list[str]], grams: list[list[Counter[Ngram]]], best: _Counts, second: _Counts, owner: _Counts
) -> float:
    """BLEU of text i against all others."""
    logs = 0.0
    for k, counter in enumerate(grams[i]):
        matched = 0
        for gram, count in counter.items():
            elsewhere = second[k] if owner[k].get(gram) == i else best[k]
            matched += min(count, elsewhere.get(gram, 0))
        smooth = 1 if k else 0
        if matched + smooth == 0:
            return 0.0
        logs += math.log((matched + smooth) / (sum(counter.values()) + smooth)) / len(grams[i])
    length = len(texts[i])
    closest = min((abs(len(other) - length), len(other)) for j, other in enumerate(texts) if j != i)[1]
    return math.exp(logs + min(0.0, 1 - closest / length))


def opening_entropy(samples: Sequence[str]) -> float:
    """Entropy of the first sentences, in nats; 0 where all are alike, ln n where no two of n are."""
    openings = Counter(_opening(text) for text in samples)
    return -sum(c / len(samples) * math.log(c / len(samples)) for c in openings.values()) if samples else 0.0


def _opening(text: str) -> str:
    found = _OPENING.match(text.strip())
    return (found.group(0) if found else text.strip()).lower()


def repetitive_share(samples: Sequence[str]) -> float:
    """Share of samples that say the same again and again; 0 of no samples."""
    return fmean(_repetition(text) > REPETITIVE for text in samples) if samples else 0.0


def _repetition(text: str) -> float:
    """Share of word trigrams that occurred before."""
    found = ngrams(words(text), 3)
    return 1 - len(set(found)) / len(found) if found else 0.0

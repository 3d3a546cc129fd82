"""Rejection sampling: many completions of each prompt, scored, and the best of all rounds picked (Llama 2).

    Sampled -(a scorer)-> scored -> `best`: for each prompt the highest score of any round

Scores of two scorers (another version of the reward model, another judge or constitution) are never compared: a sample
carries what scored it, and one that another scorer scored counts as unscored until it is scored again.

Source: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import Field

from critic.selection import expected_best, kl_of_best
from solon.intervals import Interval
from solon.records import Completion, Prompt, Record
from solon.seeds import counter_seed

_RESAMPLES = 1000


class Sampled(Record):
    """A completion that a policy wrote in some round, and what it is worth."""

    prompt: Prompt
    completion: Completion
    round: int = Field(ge=1)
    """In which it was written."""
    policy: str
    """Digest of the weights that wrote it."""
    scorer: str | None = None
    """Digest of what scored it; None before it was."""
    score: float | None = None
    """Sum of the terms by their weights; None where a term failed or none applies: it is then never picked."""
    terms: dict[str, float | str | None] = Field(default_factory=dict)
    """By name: a score, None where it does not apply, `failed` where it could not be had."""

    def value(self, scorer: str) -> float | None:
        """The score by this scorer; None where it has none."""
        return self.score if self.scorer == scorer else None


def by_prompt(samples: Iterable[Sampled]) -> dict[str, list[Sampled]]:
    """The samples of each prompt, in order."""
    groups: dict[str, list[Sampled]] = {}
    for sample in samples:
        groups.setdefault(sample.prompt.id, []).append(sample)
    return groups


def best(samples: Iterable[Sampled], scorer: str) -> list[Sampled]:
    """For each prompt with a score by this scorer the sample with the highest one; of equal ones the earliest."""
    found: list[Sampled] = []
    for group in by_prompt(samples).values():
        scored = [(value, sample) for sample in group if (value := sample.value(scorer)) is not None]
        if scored:
            found.append(max(scored, key=lambda each: each[0])[1])
    return found


def summary(samples: Sequence[Sampled], scorer: str, turn: int, seed: int = 0) -> dict[str, Any]:
    """What the picking comes to; all means are over prompts, with 95 % bootstrap intervals.

    `expected_best` holds, for n = 1, 2, 4, ..., the unbiased estimate of the mean over prompts of E[the best of n
    samples], from this round's samples of the prompts that have at least n of them; `kl_nats` beside it is the
    divergence of picking that way, which is exact for scores without ties.
    """
    picked = best(samples, scorer)
    scores = [[v for s in group if s.round == turn and (v := s.value(scorer)) is not None] for group in _fresh(samples)]
    known = [each for each in scores if each]
    most = max((len(each) for each in known), default=0)
    return {
        "samples": len(samples),
        "unscored": sum(sample.value(scorer) is None for sample in samples),
        "prompts": len(by_prompt(samples)),
        "picked": len(picked),
        "picked_from_earlier_rounds": sum(sample.round < turn for sample in picked),
        "mean_score": _mean([fmean(each) for each in known], seed),
        "mean_best": _mean([sample.value(scorer) or 0.0 for sample in picked], seed),
        "expected_best": [_expected(known, 2**power, seed) for power in range(most.bit_length())],
    }


def _fresh(samples: Sequence[Sampled]) -> list[list[Sampled]]:
    return list(by_prompt(samples).values())


def _expected(scores: Sequence[Sequence[float]], n: int, seed: int) -> dict[str, Any]:
    enough = [expected_best(each, n) for each in scores if len(each) >= n]
    return {"n": n, "kl_nats": kl_of_best(n), **(_mean(enough, seed) or {})}


def _mean(values: Sequence[float], seed: int) -> dict[str, float] | None:
    """Mean and interval; None without values."""
    if not values:
        return None
    generator = random.Random(counter_seed(seed, "rejection"))
    means = sorted(fmean(generator.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    tail = math.ceil(0.025 * _RESAMPLES)
    found = Interval(fmean(values), means[tail], means[-1 - tail], len(values))
    return {"value": found.value, "low": found.low, "high": found.high, "prompts": found.n}


def scored(
    samples: Sequence[Sampled],
    totals: Sequence[float | None],
    terms: Sequence[Mapping[str, float | str | None]],
    scorer: str,
) -> list[Sampled]:
    """The samples with new scores, which take the place of any earlier ones."""
    return [
        sample.model_copy(update={"scorer": scorer, "score": total, "terms": dict(parts)})
        for sample, total, parts in zip(samples, totals, terms, strict=True)
    ]

"""The reward of completions as a weighted sum of sources, each of which is reported alone.

None      the source does not apply to this completion: it is left out of the sum
FAILED    the source could not say: the completion has no reward at all, for a failure is never a score
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from solon.records import Completion, Prompt

FAILED = math.nan
"""In place of a score; anything that is not finite counts as it."""

Item = tuple[Prompt, Completion]


class Source(Protocol):
    """One term of a reward."""

    @property
    def name(self) -> str:
        """In the metrics."""
        ...

    @property
    def weight(self) -> float:
        """In the sum."""
        ...

    def scores(self, items: Sequence[Item]) -> Sequence[float | None]:
        """One score per item, None where the source does not apply, FAILED where it could not say."""
        ...


@dataclass(frozen=True)
class Rewards:
    """What a batch of completions earned."""

    total: tuple[float | None, ...]
    """One per completion; None where a source failed or none applied."""
    terms: dict[str, tuple[float | None, ...]]
    """The scores of each source by name, unweighted."""

    def means(self) -> dict[str, float]:
        """Mean score of each source over the completions that it applied to."""
        finite = {
            name: [s for s in scores if s is not None and math.isfinite(s)] for name, scores in self.terms.items()
        }
        return {name: fmean(scores) for name, scores in finite.items() if scores}


def mixed(sources: Sequence[Source], items: Sequence[Item]) -> Rewards:
    """The weighted sums and their terms."""
    terms = {source.name: tuple(source.scores(items)) for source in sources}
    weights = {source.name: source.weight for source in sources}
    total = tuple(_sum([(weights[name], scores[i]) for name, scores in terms.items()]) for i in range(len(items)))
    return Rewards(total, terms)


def _sum(terms: Sequence[tuple[float, float | None]]) -> float | None:
    applied = [weight * score for weight, score in terms if score is not None]
    return sum(applied) if applied and all(map(math.isfinite, applied)) else None

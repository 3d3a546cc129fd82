"""Which of the rated completions of one prompt become pairs. Equal ratings make no pair.

    max_margin   best against worst
    adjacent     first against second, third against fourth, ...: near misses
    random       in couples after a shuffle
    threshold    all whose ratings are far enough apart

Best of n: the KL divergence of taking the best of n samples, and what it scores on average.
"""

import math
from collections.abc import Sequence
from typing import Literal

from critic.ranking import p_better
from critic.schedules import Pair, all_pairs
from solon.seeds import shuffled

Selection = Literal["max_margin", "adjacent", "random", "threshold"]


def select(selection: Selection, ratings: Sequence[float], *key: str | int, min_margin: float = 0.0) -> list[Pair]:
    """Places of (better, worse), in a fixed order.

    Args:
        ratings: on the Elo scale, in the order of listing.
        key: seeds the shuffle of `random`.
        min_margin: of `threshold`, in [0, 1): |P(better beats worse) - 0.5| * 2 as the ratings have it.
    """
    order = ranking(ratings)
    if selection == "max_margin":
        pairs = [(order[0], order[-1])] if len(order) > 1 else []
    elif selection == "threshold":
        pairs = [(i, j) for i, j in all_pairs(order) if _margin(ratings[i], ratings[j]) >= min_margin]
    else:
        listed = order if selection == "adjacent" else shuffled(order, *key, "selection")
        pairs = list(zip(listed[0::2], listed[1::2], strict=False))
    return [(i, j) if ratings[i] > ratings[j] else (j, i) for i, j in pairs if ratings[i] != ratings[j]]


def ranking(ratings: Sequence[float]) -> list[int]:
    """Places from best to worst; equal ones in the order of listing."""
    return sorted(range(len(ratings)), key=lambda place: -ratings[place])


def _margin(rating: float, other: float) -> float:
    return abs(p_better(rating, other) - 0.5) * 2


def kl_of_best(n: int) -> float:
    """KL(best of n || one sample) in nats, ln n - (n - 1)/n: exact for a score without ties.

    Source: Gao et al. 2023, "Scaling laws for reward model overoptimization", arXiv:2210.10760.
    """
    return math.log(n) - (n - 1) / n


def expected_best(scores: Sequence[float], n: int) -> float:
    """The unbiased estimate of E[max of n samples] from N >= n scored samples of one prompt.

    Raises:
        ValueError: n is not in 1..N.
    """
    total = len(scores)
    if not 1 <= n <= total:
        raise ValueError(f"the best of {n} cannot be estimated from {total} samples")
    ways = math.comb(total, n)
    return math.fsum(
        math.comb(i - 1, n - 1) / ways * score for i, score in enumerate(sorted(scores), start=1) if i >= n
    )

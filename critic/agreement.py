"""Agreement beyond chance between raters: Cohen's kappa, Gwet's AC2 and Krippendorff's alpha, each with an interval.

Percent agreement hides skew: two raters that both say "a" nine times in ten agree in 82 % by chance. Intervals are
percentile bootstraps over groups (prompts), because answers to one prompt are not independent of each other. A
coefficient that is not defined (no rating, or chance explains all there is) is None, never 0 or 1.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from solon.intervals import Interval

Array: TypeAlias = npt.NDArray[np.float64]
Unit: TypeAlias = Sequence[str]
"""What the raters said of one thing, a category each; a rater who said nothing is left out."""
Closeness = Literal["identity", "linear", "quadratic"]
"""How much two categories of an ordered scale count as agreement: only equal ones, or by their distance on it."""

RESAMPLES = 1000

_Coefficient: TypeAlias = Callable[[Array], Array]
"""The coefficient of each row of summed contributions; NaN where it is not defined."""


def cohen_kappa(first: Unit, second: Unit, groups: Sequence[Hashable] | None = None) -> Interval | None:
    """Kappa of two raters over the same things, (p_o - p_e) / (1 - p_e) with p_e = sum_k p1_k p2_k.

    Source: Cohen 1960, Educational and Psychological Measurement 20:37.
    """
    scale = sorted({*first, *second})
    size = len(scale)
    tables = _one_hot(first, scale)[:, :, None] * _one_hot(second, scale)[:, None, :]

    def kappa(sums: Array) -> Array:
        shares = sums.reshape(-1, size, size) / sums.sum(1)[:, None, None]
        chance = (shares.sum(2) * shares.sum(1)).sum(1)
        return _beyond(np.trace(shares, axis1=1, axis2=2), chance)

    return _interval(tables.reshape(len(first), -1), kappa, groups)


def gwet_ac2(
    units: Sequence[Unit],
    scale: Sequence[str],
    *,
    closeness: Closeness = "linear",
    groups: Sequence[Hashable] | None = None,
) -> Interval | None:
    """AC2 of any number of raters, some of whom may be missing; with `identity` it is AC1. Robust to skew.

    Args:
        scale: all categories there are, in order.

    Source: Gwet 2014, Handbook of Inter-Rater Reliability, 4th edition, chapters 4 and 5.
    """
    counts = _counts(units, scale)
    raters = counts.sum(1)
    close = _closeness(len(scale), closeness)
    rated, shared = raters >= 1, raters >= 2
    agreeing = np.zeros(len(units))
    agreeing[shared] = (counts * (counts @ close - 1)).sum(1)[shared] / (raters * (raters - 1))[shared]
    shares = counts / np.maximum(raters, 1)[:, None]
    most = close.sum() / (len(scale) * (len(scale) - 1))

    def ac2(sums: Array) -> Array:
        prevalence = _ratio(sums[:, 3:], np.broadcast_to(sums[:, 2:3], sums[:, 3:].shape))
        return _beyond(_ratio(sums[:, 0], sums[:, 1]), most * (prevalence * (1 - prevalence)).sum(1))

    return _interval(np.column_stack([agreeing, shared, rated, shares]), ac2, groups, n=int(shared.sum()))


def krippendorff_alpha(
    units: Sequence[Unit],
    scale: Sequence[str],
    *,
    closeness: Closeness = "identity",
    groups: Sequence[Hashable] | None = None,
) -> Interval | None:
    """Alpha of any number of raters, some of whom may be missing: 1 - observed / expected disagreement.

    `identity` is the nominal metric, `quadratic` the interval metric.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
    """
    counts = _counts(units, scale)
    raters = counts.sum(1)
    distance = 1 - _closeness(len(scale), closeness)
    shared = raters >= 2
    others = np.maximum(raters - 1, 1)
    apart = np.where(shared, ((counts @ distance) * counts).sum(1) / others, 0.0)
    pairable = counts * shared[:, None]

    def alpha(sums: Array) -> Array:
        totals = sums[:, 1:]
        expected = _ratio(((totals @ distance) * totals).sum(1), totals.sum(1) - 1)
        return 1 - _ratio(sums[:, 0], expected)

    return _interval(np.column_stack([apart, pairable]), alpha, groups, n=int(shared.sum()))


def bootstrap(values: Sequence[float], groups: Sequence[Hashable] | None = None, *, seed: int = 0) -> Interval | None:
    """The mean of `values` with its percentile bootstrap interval over groups; None without values."""
    numbers = np.column_stack([np.asarray(values, dtype=np.float64), np.ones(len(values))])
    return _interval(numbers, lambda sums: _ratio(sums[:, 0], sums[:, 1]), groups, seed=seed)


def _interval(
    contributions: Array,
    coefficient: _Coefficient,
    groups: Sequence[Hashable] | None,
    *,
    n: int | None = None,
    seed: int = 0,
) -> Interval | None:
    """The coefficient of the summed contributions (unit x part), with the 2.5th and 97.5th percentile over groups."""
    units = len(contributions)
    if units == 0:
        return None
    by_group = _summed(contributions, groups if groups is not None else range(units))
    value = float(coefficient(by_group.sum(0, keepdims=True))[0])
    if np.isnan(value):
        return None
    resampled = coefficient(draws(len(by_group), RESAMPLES, seed) @ by_group)
    low, high = np.percentile(resampled[~np.isnan(resampled)], (2.5, 97.5))
    return Interval(value, float(low), float(high), units if n is None else n)


@lru_cache(maxsize=8)  # one audit resamples the same prompts for dozens of numbers
def draws(groups: int, resamples: int, seed: int) -> Array:
    """How often each group (column) is drawn in each bootstrap resample (row)."""
    found = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), resamples)
    return found.astype(np.float64)


def _summed(contributions: Array, groups: Sequence[Hashable]) -> Array:
    places = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(places), contributions.shape[1]))
    np.add.at(sums, [places[name] for name in groups], contributions)
    return sums


def _beyond(observed: Array, chance: Array) -> Array:
    return _ratio(observed - chance, np.where(chance < 1 - 1e-12, 1 - chance, 0.0))


def _ratio(above: Array, below: Array) -> Array:
    """The quotient; NaN where the divisor is not above 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _one_hot(ratings: Unit, scale: Sequence[str]) -> Array:
    return _counts([[rating] for rating in ratings], scale)


def _counts(units: Sequence[Unit], scale: Sequence[str]) -> Array:
    """How many raters put each unit (row) into each category (column)."""
    place = {category: column for column, category in enumerate(scale)}
    counts = np.zeros((len(units), len(scale)))
    for row, unit in enumerate(units):
        for category in unit:
            counts[row, place[category]] += 1
    return counts


def _closeness(categories: int, kind: Closeness) -> Array:
    steps = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories))) / max(1, categories - 1)
    powers = {
        "identity": lambda: (steps > 0).astype(np.float64),
        "linear": lambda: steps,
        "quadratic": lambda: steps**2,
    }
    return 1 - powers[kind]()

"""How well rewards predict labels they were not trained on. Pure functions, torch-free."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from solon.intervals import Interval, wilson

_BINS = 10


@dataclass(frozen=True)
class Judged:
    """One held-out comparison."""

    difference: float
    """r_a - r_b, a log-odds."""
    p_a: float
    """The label."""
    domain: str


@dataclass(frozen=True)
class Calibration:
    """Accuracy and calibration on comparisons whose label prefers a side."""

    accuracy: Interval
    """Share ordered as the label has it, a tie of rewards counting half, with its Wilson interval."""
    nll_nats: float
    """Mean loss under the soft label."""
    least_nll_nats: float
    """Entropy of the labels: what no model can go below."""
    brier: float
    """Mean (P(a) - label)^2, ties included."""
    ece: float
    """Expected calibration error, ten bins of equal mass, on the confidence in the ordering."""
    temperature: float
    """Dividing rewards by it makes them as sure as they are right; above 1 they are too sure. By maximum likelihood."""
    correlation: float | None
    """Of differences with the labels' log-odds; None where one of them does not vary."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        return asdict(self)


def calibration(judged: Sequence[Judged]) -> Calibration | None:
    """What the comparisons say; None where none of them prefers a side."""
    decided = [each for each in judged if each.p_a != 0.5]
    accuracy = wilson(sum(map(_right, decided)), len(decided))
    if accuracy is None:
        return None
    return Calibration(
        accuracy=accuracy,
        nll_nats=fmean(_loss(each, 1.0) for each in judged),
        least_nll_nats=fmean(_entropy(each.p_a) for each in judged),
        brier=fmean((_sigmoid(each.difference) - each.p_a) ** 2 for each in judged),
        ece=expected_calibration_error(
            [_sigmoid(abs(each.difference)) for each in decided], [_right(each) for each in decided]
        ),
        temperature=best_temperature(judged),
        correlation=_correlation(judged),
    )


def by_domain(judged: Sequence[Judged]) -> dict[str, Interval]:
    """Accuracy for each domain that has a decided comparison, largest first."""
    groups: dict[str, list[Judged]] = {}
    for each in judged:
        groups.setdefault(each.domain, []).append(each)
    found = {domain: calibration(group) for domain, group in sorted(groups.items(), key=lambda item: -len(item[1]))}
    return {domain: each.accuracy for domain, each in found.items() if each is not None}


def expected_calibration_error(confidences: Sequence[float], right: Sequence[float], bins: int = _BINS) -> float:
    """Mean distance of confidence from accuracy over bins of equal mass, weighted by their sizes."""
    order = sorted(range(len(confidences)), key=confidences.__getitem__)
    edges = [round(i * len(order) / bins) for i in range(bins + 1)]
    total = 0.0
    for low, high in pairwise(edges):
        part = order[low:high]
        if part:
            total += abs(sum(right[i] - confidences[i] for i in part))
    return total / len(order)


def best_temperature(judged: Sequence[Judged], low: float = 0.05, high: float = 20.0) -> float:
    """The divisor of all differences that makes the labels likeliest, in [low, high], by golden-section search."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = math.log(low), math.log(high)
    while b - a > 1e-3:
        left, right = b - ratio * (b - a), a + ratio * (b - a)
        if _mean_loss(judged, math.exp(left)) < _mean_loss(judged, math.exp(right)):
            b = right
        else:
            a = left
    return math.exp((a + b) / 2)


def _mean_loss(judged: Sequence[Judged], temperature: float) -> float:
    return fmean(_loss(each, temperature) for each in judged)


def _loss(each: Judged, temperature: float) -> float:
    z = each.difference / temperature
    return each.p_a * _softplus(-z) + (1 - each.p_a) * _softplus(z)


def _right(each: Judged) -> float:
    return 0.5 if each.difference == 0 else float((each.difference > 0) == (each.p_a > 0.5))


def _entropy(p: float) -> float:
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def _sigmoid(z: float) -> float:
    return math.exp(-_softplus(-z))


def _softplus(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def _correlation(judged: Sequence[Judged]) -> float | None:
    """Pearson's, with labels held within [0.001, 0.999]."""
    wanted = [_logit(min(max(each.p_a, 1e-3), 1 - 1e-3)) for each in judged]
    found = [each.difference for each in judged]
    x, y = fmean(wanted), fmean(found)
    spread = math.sqrt(sum((w - x) ** 2 for w in wanted) * sum((f - y) ** 2 for f in found))
    return sum((w - x) * (f - y) for w, f in zip(wanted, found, strict=True)) / spread if spread > 0 else None


def _logit(p: float) -> float:
    return math.log(p / (1 - p))

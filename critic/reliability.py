"""Whether a judge's probabilities mean what they say: calibration against people's verdicts."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from critic.agreement import bootstrap
from solon.intervals import Interval

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Comparisons of about the same confidence."""

    confidence: float
    """Mean of max(p, 1 - p), in [0.5, 1]."""
    accuracy: float
    """Share in which people prefer the side that the judge prefers; an exact half counts as half."""
    n: int


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy are apart, over comparisons that people decided."""

    n: int
    ece: float
    """Expected calibration error: sum over bins of (n_b / n) |accuracy_b - confidence_b|; 0 is calibrated."""
    brier: Interval
    """Mean of (p - y)^2; 0.25 is what p = 0.5 scores."""
    log_loss_nats: float
    """Mean of -ln p(what people said); ln 2 = 0.693 is what p = 0.5 scores."""
    overconfidence: float
    """Mean confidence less accuracy; above 0 the judge is surer than it is right."""
    bins: tuple[Bin, ...]
    """Of equal mass, by ascending confidence."""


def calibration(
    p: Sequence[float], preferred: Sequence[bool], groups: Sequence[Hashable] | None = None
) -> Calibration | None:
    """The calibration of P(a is better) against whether people preferred a; None without comparisons.

    Source: Naeini et al. 2015 (ECE); equal-mass bins as in Nguyen and O'Connor 2015, arXiv:1508.05154.
    """
    if not p:
        return None
    rated = sorted((max(each, 1 - each), _right(each, y)) for each, y in zip(p, preferred, strict=True))
    bins = [_bin(part) for part in _parts(rated, BINS)]
    n = len(rated)
    brier = bootstrap([(each - y) ** 2 for each, y in zip(p, preferred, strict=True)], groups)
    assert brier is not None, "there are comparisons"  # noqa: S101 - checked above
    return Calibration(
        n=n,
        ece=sum(each.n / n * abs(each.accuracy - each.confidence) for each in bins),
        brier=brier,
        log_loss_nats=sum(-math.log(max(each if y else 1 - each, 1e-12)) for each, y in zip(p, preferred, strict=True))
        / n,
        overconfidence=sum(confidence - right for confidence, right in rated) / n,
        bins=tuple(bins),
    )


def _right(p: float, preferred: bool) -> float:
    return 0.5 if p == 0.5 else float((p > 0.5) == preferred)


def _parts(rated: Sequence[tuple[float, float]], count: int) -> list[Sequence[tuple[float, float]]]:
    """Consecutive parts whose sizes differ by at most one; fewer than `count` where there are too few."""
    count = min(count, len(rated))
    edges = [len(rated) * i // count for i in range(count + 1)]
    return [rated[low:high] for low, high in pairwise(edges)]


def _bin(part: Sequence[tuple[float, float]]) -> Bin:
    return Bin(sum(c for c, _ in part) / len(part), sum(r for _, r in part) / len(part), len(part))

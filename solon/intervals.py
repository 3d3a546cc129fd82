"""Shares with their uncertainty."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A share in [0, 1] of `n` trials, and bounds that hold it with the stated confidence."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


def wilson(successes: float, n: int, z: float = 1.959964) -> Interval | None:
    """The score interval of a share; None without trials. Half successes (ties) are allowed.

    Args:
        z: of the normal distribution: 1.96 for 95 %, 2.576 for 99 %.

    Source: Wilson 1927, Journal of the American Statistical Association 22:209.
    """
    if n == 0:
        return None
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and 1 the bound is exact and must not miss the share by a rounding error.
    low, high = (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
    return Interval(p, low, high, n)


@dataclass(frozen=True)
class Difference:
    """A difference of two shares, in [-1, 1], and bounds that hold it with the confidence of the shares' own."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def difference(one: Interval, other: Interval) -> Difference:
    """`one` less `other`, from their score intervals; bounds stay sensible where a share is 0 or 1.

    Source: Newcombe 1998, Statistics in Medicine 17:873, method 10.
    """
    value = one.value - other.value
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    return Difference(value, low, high)

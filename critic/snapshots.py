"""Snapshots of a policy, rated against each other, and which of two is better beyond doubt.

Ratings are the most probable ones under Bradley-Terry with soft outcomes and a Gaussian prior:

    maximise  sum_m w_m [ p_m ln s(x_i - x_j) + (1 - p_m) ln s(x_j - x_i) ]  -  sum_i x_i^2 / (2 sigma^2)

so that an undefeated snapshot has a finite rating. Matches on one prompt are not independent: intervals resample
prompts, and the interval of a gain is that of the difference within each resample, not of two ratings apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from critic.ranking import AVERAGE, POINTS_PER_LOGIT, Match
from solon.seeds import counter_seed

SIGMA: Final = 2.0
"""Of the prior, in log-odds: nothing to a few dozen matches, a bound for an undefeated snapshot."""
_STEPS: Final = 50
_SMALL: Final = 1e-9

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """How much better one snapshot is than another, on the Elo scale (174 points are one unit of log-odds)."""

    value: float
    low: float
    high: float
    prompts: int

    @property
    def beyond_doubt(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0


@dataclass(frozen=True)
class Standing:
    """A snapshot's rating with its bootstrap interval; 1000 is the average."""

    snapshot: str
    rating: float
    low: float
    high: float
    matches: int


class Board:
    """All matches so far, fitted anew."""

    def __init__(self, matches: Sequence[Match], *, sigma: float = SIGMA, resamples: int = 1000, seed: int = 0) -> None:
        self.snapshots = list(dict.fromkeys(name for match in matches for name in (match.a, match.b)))
        prompts = list(dict.fromkeys(match.prompt for match in matches))
        places = {name: place for place, name in enumerate(self.snapshots)}
        groups = {prompt: place for place, prompt in enumerate(prompts)}
        self._a = np.array([places[match.a] for match in matches], dtype=np.intp)
        self._b = np.array([places[match.b] for match in matches], dtype=np.intp)
        self._p = np.array([match.p_a for match in matches], dtype=np.float64)
        self._group = np.array([groups[match.prompt] for match in matches], dtype=np.intp)
        self._sigma = sigma
        self.prompts = len(prompts)
        self._fit = self._rated(np.ones(self.prompts))
        self._resampled = np.zeros((resamples, 0))
        if self.prompts:
            generator = np.random.default_rng(counter_seed(seed, "snapshots"))
            draws = generator.multinomial(self.prompts, np.full(self.prompts, 1 / self.prompts), size=resamples)
            self._resampled = np.stack([self._rated(draw.astype(np.float64)) for draw in draws])

    def gain(self, snapshot: str, over: str, *, level: float = 0.95) -> Gain:
        """Of one snapshot over another; all zero for one over itself, or where either has met nobody."""
        known = {snapshot, over} <= set(self.snapshots)
        if snapshot == over or not known:
            return Gain(0.0, 0.0, 0.0, 0)
        i, j = self.snapshots.index(snapshot), self.snapshots.index(over)
        differences = POINTS_PER_LOGIT * (self._resampled[:, i] - self._resampled[:, j])
        low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
        return Gain(float(POINTS_PER_LOGIT * (self._fit[i] - self._fit[j])), float(low), float(high), self.prompts)

    def standings(self, *, level: float = 0.95) -> list[Standing]:
        """All snapshots, best first."""
        bounds = np.quantile(self._resampled, [(1 - level) / 2, (1 + level) / 2], axis=0) if self.snapshots else []
        table = [
            Standing(
                name,
                AVERAGE + POINTS_PER_LOGIT * float(self._fit[i]),
                AVERAGE + POINTS_PER_LOGIT * float(bounds[0][i]),
                AVERAGE + POINTS_PER_LOGIT * float(bounds[1][i]),
                int(np.sum(self._a == i) + np.sum(self._b == i)),
            )
            for i, name in enumerate(self.snapshots)
        ]
        return sorted(table, key=lambda each: -each.rating)

    def _rated(self, weights: Floats) -> Floats:
        """Log-odds ratings by Newton's method; the objective is strictly concave, so it has one maximum."""
        n, w = len(self.snapshots), weights[self._group]
        x = np.zeros(n)
        if n == 0:
            return x
        for _ in range(_STEPS):
            s = 1 / (1 + np.exp(-(x[self._a] - x[self._b])))
            slope, bend = w * (self._p - s), w * s * (1 - s)
            gradient = np.bincount(self._a, slope, n) - np.bincount(self._b, slope, n) - x / self._sigma**2
            hessian = np.diag(np.bincount(self._a, bend, n) + np.bincount(self._b, bend, n) + 1 / self._sigma**2)
            np.subtract.at(hessian, (self._a, self._b), bend)
            np.subtract.at(hessian, (self._b, self._a), bend)
            step = np.linalg.solve(hessian, gradient)
            x = x + step
            if np.abs(step).max(initial=0.0) < _SMALL:
                break
        return x

"""Ratings from pairwise comparisons, on the Elo scale: 1000 is average, 174 points are one unit of log-odds.

    bradley_terry   P(i beats j) = s(x_i - x_j); takes soft outcomes as they are, a tie being p = 0.5
    newman          the same with ties as a third outcome of their own probability (Newman 2023, arXiv:2207.00076)
    elo             one pass in the order given, K = 4: for a live board only, as it depends on the order

The fits are evalica's. To each player are added `prior` wins and `prior` losses against a fixed player of rating 1000:
without them an undefeated player has an infinite rating, and players who never met have none at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from solon.errors import Failed
from solon.seeds import counter_seed

Method = Literal["bradley_terry", "newman", "elo"]
METHODS: Final[tuple[str, ...]] = get_args(Method)

AVERAGE: Final = 1000.0
POINTS_PER_LOGIT: Final = 400 / math.log(10)
_K: Final = 4.0
_MOST_ITERATIONS: Final = 100_000

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Match:
    """One comparison of two players."""

    a: str
    b: str
    p_a: float
    """P(a is better); 1, 0.5 or 0 where the outcome is hard."""
    prompt: str = ""
    """What both answered: intervals resample prompts, as matches on one prompt are not independent."""


@dataclass(frozen=True)
class Rating:
    """A player's rating with its bootstrap interval."""

    player: str
    rating: float
    low: float
    high: float
    matches: int
    wins: float
    """Sum of P(the player is better)."""


def ratings(
    matches: Sequence[Match], method: Method = "bradley_terry", *, tie_margin: float = 0.0, prior: float = 0.1
) -> dict[str, float]:
    """The rating of each player, in the order in which they first appear.

    Args:
        tie_margin: |p - 0.5| * 2 below this is a tie, for `newman` and `elo`; exactly 0.5 always is.
        prior: > 0; see the module.
    """
    board = _Board(matches, method, tie_margin, prior)
    return dict(zip(board.players, board.rated(np.ones(len(board.prompts))).tolist(), strict=True))


def leaderboard(
    matches: Sequence[Match],
    method: Method = "bradley_terry",
    *,
    tie_margin: float = 0.0,
    prior: float = 0.1,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Rating]:
    """The players, best first, with percentile intervals from resampling prompts with replacement.

    Args:
        level: share of the resampled ratings between `low` and `high`.
    """
    board = _Board(matches, method, tie_margin, prior)
    n = len(board.prompts)
    generator = np.random.default_rng(counter_seed(seed, "bootstrap"))
    drawn = [
        board.rated(generator.multinomial(n, np.full(n, 1 / n)).astype(np.float64))
        for _ in range(resamples if n else 0)
    ]
    values = board.rated(np.ones(n))
    bounds = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0) if drawn else np.stack([values, values])
    table = [
        Rating(player, float(values[i]), float(bounds[0, i]), float(bounds[1, i]), *_record(matches, player))
        for i, player in enumerate(board.players)
    ]
    return sorted(table, key=lambda rating: -rating.rating)


def p_better(rating: float, other: float) -> float:
    """P(a player of the first rating beats one of the second)."""
    return 1 / (1 + 10 ** ((other - rating) / 400))


def _record(matches: Sequence[Match], player: str) -> tuple[int, float]:
    """Matches of a player and its wins."""
    own = [match for match in matches if player in (match.a, match.b)]
    return len(own), math.fsum(match.p_a if match.a == player else 1 - match.p_a for match in own)


class _Board:
    """The matches as wins and ties per prompt, ready to be rated under any weights of the prompts."""

    def __init__(self, matches: Sequence[Match], method: Method, tie_margin: float, prior: float) -> None:
        self.players = list(dict.fromkeys(name for match in matches for name in (match.a, match.b)))
        self.prompts = list(dict.fromkeys(match.prompt for match in matches))
        self._method = method
        self._prior = prior
        places = {player: place for place, player in enumerate(self.players)}
        groups = {prompt: place for place, prompt in enumerate(self.prompts)}
        self._a = np.array([places[match.a] for match in matches], dtype=np.intp)
        self._b = np.array([places[match.b] for match in matches], dtype=np.intp)
        self._group = np.array([groups[match.prompt] for match in matches], dtype=np.intp)
        p = np.array([match.p_a for match in matches], dtype=np.float64)
        if method != "bradley_terry":
            tied = (p == 0.5) | (np.abs(p - 0.5) * 2 < tie_margin - 1e-9)
            p = np.where(tied, 0.5, np.round(p))
        self._p = p

    def rated(self, weights: Weights) -> Weights:
        """Ratings in the order of `players`; `weights` says how often each prompt counts."""
        if not self.players:
            return np.zeros(0)
        return self._elo(weights) if self._method == "elo" else self._fitted(weights[self._group])

    def _fitted(self, weights: Weights) -> Weights:
        import evalica  # with pandas and scipy, which take seconds to import

        fixed = len(self.players)
        wins, ties = np.zeros((fixed + 1, fixed + 1)), np.zeros((fixed + 1, fixed + 1))
        wins[fixed, :fixed] = wins[:fixed, fixed] = self._prior
        tied = self._p == 0.5 if self._method == "newman" else np.zeros(len(self._p), dtype=bool)
        np.add.at(wins, (self._a, self._b), np.where(tied, 0.0, weights * self._p))
        np.add.at(wins, (self._b, self._a), np.where(tied, 0.0, weights * (1 - self._p)))
        np.add.at(ties, (self._a, self._b), np.where(tied, weights, 0.0))
        pairs = [(evalica.Winner.X, wins), (evalica.Winner.Draw, ties)]
        entries = [
            (int(i), int(j), kind, float(matrix[i, j])) for kind, matrix in pairs for i, j in np.argwhere(matrix > 0)
        ]
        xs, ys, winners, counts = map(list, zip(*entries, strict=True))
        fit = evalica.newman if self._method == "newman" else evalica.bradley_terry
        result = fit(xs, ys, winners, weights=counts, tolerance=1e-9, limit=_MOST_ITERATIONS)
        if result.iterations >= _MOST_ITERATIONS:
            raise Failed("the ratings do not settle", remedy="compare more, or use a larger prior")
        scores = result.scores.loc[range(fixed + 1)].to_numpy()
        return AVERAGE + POINTS_PER_LOGIT * np.log(scores[:fixed] / scores[fixed])

    def _elo(self, weights: Weights) -> Weights:
        import evalica

        times = weights[self._group].astype(int)
        played = [i for i, count in enumerate(times) for _ in range(count)]
        winner = {1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}
        found = np.full(len(self.players), AVERAGE)
        if played:
            winners = [winner[self._p[i]] for i in played]
            result = evalica.elo(self._a[played].tolist(), self._b[played].tolist(), winners, initial=AVERAGE, k=_K)
            found[result.scores.index.to_numpy()] = result.scores.to_numpy()
        return found

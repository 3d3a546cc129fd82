"""Which completions of one prompt meet.

    max_margin  one pair: best against worst, found in 3n/2 - 1 comparisons at most (n = 4: 5, n = 8: 11)
    adjacent    (0, 1), (2, 3), ...: n/2 pairs and comparisons
    random      the same after a shuffle: for completions whose order means something
    all         n(n - 1)/2 pairs and comparisons
    threshold   every pair whose ratings are far enough apart, after a schedule (`all` if none is named)

`max_margin` pairs neighbours off first; a knockout among the winners finds the best and one among the losers the worst
(Pohl 1972, "A sorting problem and its complexity": 3n/2 - 2 comparisons are the least that find both), and those two
then meet. It trusts the judge to be transitive, as every scheme with fewer than n(n - 1)/2 comparisons must.

With a schedule (`critic.schedules`) its comparisons are made first and every completion is rated by all of them; the
pairing then goes by rating: best against worst, neighbours in rank. `all` is then the comparisons that were made.
Completions that no comparison of theirs could be judged for are left out.

In every comparison a is the completion listed earlier, so position says nothing about who won.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, get_args

from critic.concurrency import together
from critic.ranking import Match, ratings
from critic.schedules import Pair, Schedule, all_pairs, chunks, swiss_round, swiss_rounds
from critic.selection import select
from solon.records import PreferencePair
from solon.seeds import shuffled

Pairing = Literal["max_margin", "adjacent", "all", "random", "threshold"]
PAIRINGS: Final[tuple[str, ...]] = get_args(Pairing)

Compare = Callable[[int, int], Awaitable[PreferencePair]]
"""The label of completion i (listed as a) against completion j (as b)."""


def comparisons(n: int, pairing: Pairing, schedule: Schedule | None = None) -> tuple[int, int]:
    """The fewest and the most comparisons that a tournament among `n` completions makes; which depends on the judge."""
    everyone, half = n * (n - 1) // 2, n // 2
    if schedule is None and pairing != "threshold":
        if pairing == "max_margin" and n > 2:
            first = half + 2 * (n - half - 1)  # neighbours, then a knockout among winners and one among losers
            return min(first, everyone), min(first + 1, everyone)  # best and worst may have met already
        made = everyone if pairing == "all" else half
        return made, made
    if schedule in (None, "all"):
        return everyone, everyone
    held = len(chunks(n)) if schedule == "chunks" else min(swiss_rounds(n) * half, everyone)
    least = held if schedule == "chunks" else half  # a swiss round may find nobody left to meet
    chosen = {"all": 0, "max_margin": 1, "threshold": everyone}.get(pairing, half)
    return min(least, everyone), min(held + chosen, everyone)


class Tournament:
    """The comparisons among `n` completions of one prompt. Each pair meets once; `met` holds all that did."""

    def __init__(self, n: int, compare: Compare) -> None:
        self.n = n
        self.met: dict[tuple[int, int], PreferencePair] = {}
        self._compare = compare

    async def play(
        self, pairing: Pairing, *key: str | int, schedule: Schedule | None = None, min_margin: float = 0.0
    ) -> list[PreferencePair]:
        """The pairs to emit, in a fixed order.

        Args:
            key: seeds what is random in pairing and schedule.
            min_margin: of `threshold`, see `critic.selection`.
        """
        if schedule is not None or pairing == "threshold":
            await self.hold(schedule or "all", *key)
            return await self._selected(pairing, *key, min_margin=min_margin)
        everyone = range(self.n)
        if pairing == "max_margin" and self.n > 2:
            return [await self._best_against_worst()]
        if pairing == "all":
            return await self._meet(all_pairs(everyone))
        order = shuffled(everyone, *key, "pairing") if pairing == "random" else everyone
        return await self._meet(list(zip(order[0::2], order[1::2], strict=False)))

    async def hold(self, schedule: Schedule, *key: str | int) -> None:
        """Make the comparisons of a schedule."""
        if schedule != "swiss":
            await self._meet(all_pairs(range(self.n)) if schedule == "all" else chunks(self.n, *key))
            return
        for number in range(swiss_rounds(self.n)):
            await self._meet(swiss_round(self._points(), self.met, *key, number))

    def ratings(self) -> dict[int, float]:
        """Bradley-Terry ratings by place, of the completions with a comparison that could be judged."""
        matches = [Match(str(i), str(j), pair.p_a) for (i, j), pair in self.met.items() if pair.p_a is not None]
        found = ratings(matches)
        return {place: found[str(place)] for place in range(self.n) if str(place) in found}

    async def _selected(self, pairing: Pairing, *key: str | int, min_margin: float) -> list[PreferencePair]:
        if pairing == "all":
            return [self.met[pair] for pair in sorted(self.met)]
        rated = self.ratings()
        places = list(rated)
        chosen = select(pairing, [rated[place] for place in places], *key, min_margin=min_margin)
        return await self._meet([(places[i], places[j]) for i, j in chosen])

    def _points(self) -> list[float]:
        """Sum of P(better) of each completion over its comparisons so far."""
        points = [0.0] * self.n
        for (i, j), pair in self.met.items():
            if pair.p_a is not None:
                points[i] += pair.p_a
                points[j] += 1 - pair.p_a
        return points

    async def _meet(self, pairs: Sequence[Pair]) -> list[PreferencePair]:
        return await together(self._match(i, j) for i, j in pairs)

    async def _match(self, i: int, j: int) -> PreferencePair:
        key = (min(i, j), max(i, j))
        if key not in self.met:
            self.met[key] = await self._compare(*key)
        return self.met[key]

    async def _best_against_worst(self) -> PreferencePair:
        winners, losers = await self._round(list(range(self.n)))
        best, worst = await together((self._knockout(winners, 0), self._knockout(losers, 1)))
        if best == worst:  # an odd one out in a circle: it beat the winners and lost to the losers
            return max(self.met.values(), key=lambda pair: pair.margin or 0.0)
        return await self._match(best, worst)

    async def _round(self, players: Sequence[int]) -> tuple[list[int], list[int]]:
        """Winners and losers of neighbours; an odd one out is in both lists."""
        couples = list(zip(players[0::2], players[1::2], strict=False))
        pairs = await self._meet(couples)
        order = [_by_outcome(couple, pair) for couple, pair in zip(couples, pairs, strict=True)]
        left = [players[-1]] if len(players) % 2 else []
        return [won for won, _ in order] + left, [lost for _, lost in order] + left

    async def _knockout(self, players: Sequence[int], keep: Literal[0, 1]) -> int:
        """Who is left when only winners (`keep` 0) or only losers (1) play on."""
        while len(players) > 1:
            players = (await self._round(players))[keep]
        return players[0]


def _by_outcome(couple: tuple[int, int], pair: PreferencePair) -> tuple[int, int]:
    """(winner, loser); the earlier one counts as winner when the comparison failed or is exactly even."""
    first, second = sorted(couple)
    return (second, first) if pair.p_a is not None and pair.p_a < 0.5 else (first, second)

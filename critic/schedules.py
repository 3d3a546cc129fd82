"""Which comparisons to make among n completions, so that all of them can be rated.

all      n(n - 1)/2: everyone meets everyone
swiss    about n/2 * ceil(log2 n), in rounds: those with like scores meet, nobody meets twice
chunks   at most (n - 1) * k/2, linear in n: everyone meets everyone within chunks of k, each chunk sharing one
         completion with the next, so that a chain of comparisons links any two
"""

import math
from collections.abc import Collection, Sequence
from typing import Final, Literal, get_args

from solon.seeds import shuffled

Schedule = Literal["all", "swiss", "chunks"]
SCHEDULES: Final[tuple[str, ...]] = get_args(Schedule)
Pair = tuple[int, int]
"""Places of two completions, the smaller one first."""

CHUNK: Final = 4


def all_pairs(places: Sequence[int]) -> list[Pair]:
    """Every pair of the places once."""
    return [_ordered(i, j) for index, i in enumerate(places) for j in places[index + 1 :]]


def chunks(n: int, *key: str | int, size: int = CHUNK) -> list[Pair]:
    """The pairs within chunks of `size` >= 2 completions, shuffled by `key`, that overlap by one."""
    order = shuffled(range(n), *key, "chunks")
    return [pair for start in range(0, max(n - 1, 0), size - 1) for pair in all_pairs(order[start : start + size])]


def swiss_rounds(n: int) -> int:
    """How many rounds tell a best one among n: ceil(log2 n)."""
    return math.ceil(math.log2(n)) if n > 1 else 0


def swiss_round(scores: Sequence[float], met: Collection[Pair], *key: str | int) -> list[Pair]:
    """The next round: from the top, each meets the nearest in score whom it has not met; the odd one out rests.

    Args:
        scores: points so far; equal ones are put in a random order that depends on `key` only.
    """
    order = sorted(shuffled(range(len(scores)), *key, "swiss"), key=lambda place: -scores[place])
    pairs: list[Pair] = []
    waiting = list(order)
    while waiting:
        first = waiting.pop(0)
        opponent = next((other for other in waiting if _ordered(first, other) not in met), None)
        if opponent is not None:
            waiting.remove(opponent)
            pairs.append(_ordered(first, opponent))
    return pairs


def _ordered(i: int, j: int) -> Pair:
    return (i, j) if i < j else (j, i)

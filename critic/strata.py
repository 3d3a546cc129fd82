"""A sample of labelled pairs in which every kind of pair has its share: by scope, by margin, by what people said.

The pairs are put in order of stratum, at random within it, and every k-th is taken from a random start. So each pair is
as likely to be in the sample as any other, each stratum is there in proportion to within one pair, and plain shares of
the sample are estimates for all pairs (systematic sampling with implicit stratification; Kish 1965, Survey Sampling,
chapter 4).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from critic.audit import human_verdict
from solon.records import PreferencePair, Status
from solon.seeds import counter_seed

CLEAR_MARGIN = 0.5
"""A decided label with at least this margin is `clear`, another one `narrow`."""


class Stratum(NamedTuple):
    """What pairs are told apart by."""

    scope: str
    margin: Literal["clear", "narrow", "tie"]
    people: Literal["with", "against", "tie", "none"]
    """Whether people's verdict is the label's; `tie`: people did not agree on a side; `none`: nobody was asked."""


@dataclass(frozen=True)
class Member:
    """One pair of the population, as much of it as sampling needs."""

    index: int
    """Place in the dataset."""
    id: str
    stratum: Stratum


def stratum(pair: PreferencePair) -> Stratum:
    """The stratum of a pair with a measured label."""
    margin = "tie" if pair.status is Status.TIE else "clear" if (pair.margin or 0.0) >= CLEAR_MARGIN else "narrow"
    human = human_verdict(pair)
    people = "none" if human is None else "tie" if human == "tie" else "with" if human == pair.chosen else "against"
    return Stratum(pair.prompt.scope, margin, people)


def stratified(population: Sequence[Member], size: int, seed: int) -> tuple[Member, ...]:
    """`size` members in the order of the dataset, or all of them where there are no more; same seed, same sample."""
    if size >= len(population):
        return tuple(population)
    ordered = sorted(population, key=lambda each: (each.stratum, counter_seed(seed, each.id, "stratum")))
    start = counter_seed(seed, "start") / 2**31
    chosen = (ordered[int((start + k) * len(ordered) / size)] for k in range(size))
    return tuple(sorted(chosen, key=lambda each: each.index))


def sizes(members: Sequence[Member]) -> dict[str, int]:
    """Members per stratum, written as `scope/margin/people`."""
    return dict(sorted(Counter("/".join(each.stratum) for each in members).items()))

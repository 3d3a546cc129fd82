"""People's votes on a comparison: what they come to, and how far people agree among themselves."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from critic.agreement import bootstrap, krippendorff_alpha
from solon.intervals import Interval
from solon.rows import HumanVote

Choice = Literal["a", "b", "tie"]
SCALE: Final = ("a", "tie", "b")
"""The categories in order: a tie lies between the sides."""


def majority(votes: Sequence[HumanVote]) -> Choice | None:
    """The side with more votes; as many for each, or more ties than either, is a tie; None without votes."""
    count = Counter(votes)
    if not count:
        return None
    if count["a"] == count["b"] or count["tie"] > max(count["a"], count["b"]):
        return "tie"
    return "a" if count["a"] > count["b"] else "b"


@dataclass(frozen=True)
class Ceiling:
    """How far people agree among themselves, and the judge with them, where several voted; a tie is a third answer."""

    n: int
    """Comparisons with at least two votes."""
    pairwise: Interval
    """Chance that two people say the same."""
    person: Interval
    """Chance that a person says what most of the others say; where several answers are as frequent, their share."""
    judge: Interval
    """The same for the judge, against the same others."""
    people_alpha: Interval | None
    """Krippendorff's alpha among people, nominal."""
    with_judge_alpha: Interval | None
    """The same with the judge as one more rater: well below the former, the judge is the odd one out."""


def ceiling(
    votes: Sequence[Sequence[HumanVote]], judged: Sequence[Choice], groups: Sequence[Hashable]
) -> Ceiling | None:
    """What people reach against each other and the judge against them; None where nowhere two people voted."""
    kept = [i for i, each in enumerate(votes) if len(each) >= 2]
    names = [groups[i] for i in kept]
    units = [list(votes[i]) for i in kept]
    pairwise = bootstrap([_pairwise(unit) for unit in units], names)
    person = bootstrap([_against_others(unit, unit) for unit in units], names)
    judges = [[judged[i]] * len(votes[i]) for i in kept]
    judge = bootstrap([_against_others(unit, said) for unit, said in zip(units, judges, strict=True)], names)
    if pairwise is None or person is None or judge is None:
        return None
    with_judge = [[*unit, judged[place]] for place, unit in zip(kept, units, strict=True)]
    return Ceiling(
        len(kept),
        pairwise,
        person,
        judge,
        krippendorff_alpha(units, SCALE, groups=names),
        krippendorff_alpha(with_judge, SCALE, groups=names),
    )


def _pairwise(unit: Sequence[str]) -> float:
    n = len(unit)
    return sum(count * (count - 1) for count in Counter(unit).values()) / (n * (n - 1))


def _as_most(vote: str, others: Sequence[str]) -> float:
    count = Counter(others)
    most = [answer for answer, number in count.items() if number == max(count.values())]
    return 1 / len(most) if vote in most else 0.0


def _against_others(unit: Sequence[str], said: Sequence[str]) -> float:
    """How often `said`, in the place of each person in turn, is what most of the others say."""
    others = [[vote for j, vote in enumerate(unit) if j != i] for i in range(len(unit))]
    return sum(_as_most(one, rest) for one, rest in zip(said, others, strict=True)) / len(unit)

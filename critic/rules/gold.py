"""How well propositions are answered, against gold answers."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from constitution.expressions import NOT_APPLICABLE, Known
from solon.intervals import Interval, wilson


@dataclass(frozen=True)
class PropositionAccuracy:
    """One proposition over all completions with a gold answer."""

    accuracy: Interval | None
    """Share of the answers on the right side of one half; None without answers."""
    balanced: float | None
    """Mean of the shares of right answers where gold says yes and where it says no; None unless both occur."""
    base_rate: float
    """Share of gold answers that are yes."""
    majority: float
    """Accuracy of always giving the more frequent gold answer: what an answer has to beat."""
    brier: float | None
    """Mean of (P(yes) - gold)^2."""
    unanswered: int
    not_applicable: int
    """Answered as not applicable where gold has an answer."""


@dataclass
class _Tally:
    right: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    answered: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    squares: list[float] = field(default_factory=list[float])
    gold: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    unanswered: int = 0
    not_applicable: int = 0


def proposition_accuracy(
    answers: Iterable[tuple[Mapping[str, Known | None], Mapping[str, Known | None]]],
) -> dict[str, PropositionAccuracy]:
    """Accuracy of each proposition, in the order in which gold answers first name it.

    Args:
        answers: (answer, gold) by proposition for each completion; a gold answer is true or false, others are skipped.
    """
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    for answer, gold in answers:
        for name, truth in gold.items():
            if isinstance(truth, bool):
                _count(tallies[name], answer.get(name), truth)
    return {name: _accuracy(tally) for name, tally in tallies.items()}


def _count(tally: _Tally, answer: Known | None, truth: bool) -> None:
    tally.gold[truth] += 1
    if answer is None:
        tally.unanswered += 1
    elif answer == NOT_APPLICABLE or isinstance(answer, str):
        tally.not_applicable += 1
    else:
        tally.answered[truth] += 1
        tally.right[truth] += (answer >= 0.5) == truth
        tally.squares.append((float(answer) - truth) ** 2)


def _accuracy(tally: _Tally) -> PropositionAccuracy:
    total = sum(tally.gold.values())
    answered = sum(tally.answered.values())
    sides = [tally.right[side] / tally.answered[side] for side in (False, True) if tally.answered[side]]
    return PropositionAccuracy(
        accuracy=wilson(sum(tally.right.values()), answered),
        balanced=sum(sides) / 2 if len(sides) == 2 else None,
        base_rate=tally.gold[True] / total,
        majority=max(tally.gold.values()) / total,
        brier=math.fsum(tally.squares) / answered if answered else None,
        unanswered=tally.unanswered,
        not_applicable=tally.not_applicable,
    )

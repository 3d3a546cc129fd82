"""From the verdicts on one comparison to one label: principles combined, rules added, vetoes obeyed.

    p = combine(p_1 ... p_m; weights)                   over the principles, by the constitution's method
    p = s(logit(p) + rule_reward_weight * (R_a - R_b))  rules add to the log-odds, as a reward adds to a reward
    p = the veto principles' own p                      where they are decided and p does not already agree

Methods. `weighted_mean` is the mean of probabilities: cautious, and one decided principle among many undecided ones is
diluted towards 0.5. `logit_sum` adds the weighted log-odds (a product of experts): a principle at 0.5 says nothing and
changes nothing. See docs/decisions for which is the default and why.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from constitution.document import Combine, Principle
from critic.judge import is_decided
from solon.records import POSITION_INCONSISTENT, RuleScore, Status, Verdict

Opinion = tuple[float, float]
"""(P(a is better), weight)."""

USABLE: Final = frozenset({Status.OK, Status.TIE})
"""Statuses of a comparison that was measured."""

_MOST_LOGITS_EACH: Final = 4.0
"""No principle counts as surer than p = 0.982 per unit of weight."""
_MOST_LOGITS: Final = 6.0
"""No label is surer than p = 0.9975: DPO's optimum for a label of 1 is an infinite log-ratio."""


@dataclass(frozen=True)
class Label:
    """What a comparison came to."""

    status: Status
    p_a: float | None
    flags: tuple[str, ...] = ()
    """`partial_principles`, `veto`, `position_inconsistent`, `proposition_unanswered`."""


def label(
    verdicts: Sequence[Verdict],
    principles: Sequence[Principle],
    combine: Combine,
    *,
    rules: tuple[RuleScore, RuleScore] | None = None,
    min_principles: int | None = None,
) -> Label:
    """The label of one comparison.

    Args:
        verdicts: one for each of `principles`, in the same order; none where only rules apply.
        rules: scores of a and b, None where no rule applies.
        min_principles: a principle that could not be judged makes the label fail with its status, unless at least
            this many could be.
    """
    judged = [(v, p) for v, p in zip(verdicts, principles, strict=True) if v.status in USABLE]
    failed = [v.status for v in verdicts if v.status not in USABLE]
    if failed and (not judged or min_principles is None or len(judged) < min_principles):
        return Label(failed[0], None)
    flags = ["partial_principles"] if failed else []
    shift = combine.rule_reward_weight * (rules[0].reward - rules[1].reward) if rules else 0.0
    p, vetoed = _probability([(_p(v), pr) for v, pr in judged], combine, shift)
    if vetoed:
        flags.append("veto")
    if judged and _side_depends_on_order(judged, combine, shift):
        flags.append(POSITION_INCONSISTENT)
    if rules and any(value is None for score in rules for value in score.propositions.values()):
        flags.append("proposition_unanswered")
    return Label(Status.OK if is_decided(p, combine.tie_margin) else Status.TIE, p, tuple(flags))


def weighted_mean(opinions: Sequence[Opinion]) -> float:
    """The mean of the probabilities; 0.5 without any, and exactly 0.5 if all are."""
    total = sum(weight for _, weight in opinions)
    return 0.5 + sum(weight * (p - 0.5) for p, weight in opinions) / total if total else 0.5


def logit_sum(opinions: Sequence[Opinion]) -> float:
    """The sigmoid of the weighted sum of log-odds, each and all bounded; 0.5 without any."""
    return sigmoid(clamped(sum(weight * logit(p, _MOST_LOGITS_EACH) for p, weight in opinions), _MOST_LOGITS))


METHODS: Final[dict[str, Callable[[Sequence[Opinion]], float]]] = {
    "weighted_mean": weighted_mean,
    "logit_sum": logit_sum,
}


def _probability(opinions: Sequence[tuple[float, Principle]], combine: Combine, shift: float) -> tuple[float, bool]:
    """P(a is better), and whether a veto changed it."""
    method = METHODS[combine.method]
    p = method([(each, principle.weight) for each, principle in opinions])
    if shift:
        p = sigmoid(clamped(logit(p, _MOST_LOGITS) + shift, _MOST_LOGITS))
    vetoes = [(each, pr.weight) for each, pr in opinions if pr.veto and is_decided(each, combine.tie_margin)]
    if not vetoes:
        return p, False
    veto = method(vetoes)
    agrees = (p - 0.5) * (veto - 0.5) > 0 and abs(p - 0.5) >= abs(veto - 0.5)
    return (p, False) if agrees else (veto, True)


def _side_depends_on_order(judged: Sequence[tuple[Verdict, Principle]], combine: Combine, shift: float) -> bool:
    """Whether the votes of one order alone prefer a and those of the other order alone prefer b."""
    sides: list[float] = []
    for order in ("ab", "ba"):
        opinions = [(_p_in(v, order), principle) for v, principle in judged]
        sides.append(_probability(opinions, combine, shift)[0] - 0.5)
    return sides[0] * sides[1] < 0


def _p(verdict: Verdict) -> float:
    assert verdict.p_a is not None, "usable verdicts are measured"  # noqa: S101 - guaranteed by USABLE
    return verdict.p_a


def _p_in(verdict: Verdict, order: str) -> float:
    first = next(vote.p_first for vote in verdict.votes if vote.order == order)
    assert first is not None, "usable verdicts have two votes"  # noqa: S101 - guaranteed by USABLE
    return first if order == "ab" else 1 - first


def logit(p: float, most: float = _MOST_LOGITS) -> float:
    """ln(p / (1 - p)), within [-most, most]."""
    if p <= 0 or p >= 1:
        return most if p >= 1 else -most
    return clamped(math.log(p / (1 - p)), most)


def sigmoid(z: float) -> float:
    """1 / (1 + exp(-z)), without overflow."""
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def clamped(z: float, most: float) -> float:
    """`z` within [-most, most]."""
    return max(-most, min(most, z))

"""Exact probabilities of conditions over propositions that are only probably true.

The propositions are taken as independent, the conditions are not: each condition is expanded down to its propositions
and its probability is the sum over their assignments. Multiplying the probabilities of its parts instead counts a
proposition that stands in two parts twice (up to 0.17 off for the classes of published rule-based rewards), and the
classes would not sum to 1.

As in the check that classes partition, CEL decides early what is already decided, so a few hundred steps stand for 2^17
assignments.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from critic.rules.expressions import Condition, Value
from solon.errors import InvalidInput

_MOST_STEPS: Final = 100_000

Expand = Callable[[Mapping[str, Value | None]], Mapping[str, Value | None]]
"""Adds the derived propositions that are decided by the values at hand."""


def probabilities(
    conditions: Mapping[str, Condition],
    known: Mapping[str, Value | None],
    p_yes: Mapping[str, float],
    order: Sequence[str],
    expand: Expand,
) -> dict[str, float | None]:
    """P(it holds) of each condition, None where that depends on a value that is not known.

    Args:
        known: values that are certain; None or absent is unknown.
        p_yes: of the other propositions, in [0, 1], independent of each other.
        order: the names of `p_yes` that the conditions depend on.

    Raises:
        InvalidInput: too many propositions in too tangled a way.
    """
    totals: dict[str, float | None] = dict.fromkeys(conditions, 0.0)
    open_branches: list[tuple[dict[str, Value | None], float, int]] = [(dict(known), 1.0, 0)]
    steps = 0
    while open_branches:
        assignment, weight, depth = open_branches.pop()
        steps += 1
        if steps > _MOST_STEPS:
            raise InvalidInput(
                f"a condition depends on {len(order)} uncertain propositions in too tangled a way",
                field=next(iter(conditions.values())).field,
                remedy="use fewer propositions in it",
            )
        values = expand(assignment)
        holding = {label: condition.holds(values) for label, condition in conditions.items()}
        if None in holding.values() and depth < len(order):
            name, p = order[depth], p_yes[order[depth]]
            branches = ((False, 1 - p), (True, p))
            open_branches += [(assignment | {name: value}, weight * share, depth + 1) for value, share in branches if share]
            continue
        for label, holds in holding.items():
            total = totals[label]
            totals[label] = None if holds is None or total is None else total + weight * holds
    return {label: None if total is None else min(1.0, total) for label, total in totals.items()}

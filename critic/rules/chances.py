"""Exact probabilities of conditions over propositions that are only probably true.

The propositions are taken as independent, the conditions are not: each condition is expanded down to its propositions
and its probability is the sum over their assignments. Multiplying the probabilities of its parts instead counts a
proposition that stands in two parts twice (up to 0.17 off for the classes of published rule-based rewards), and the
classes would not sum to 1.

As in the check that classes partition, CEL decides early what is already decided, so a few hundred steps stand for 2^17
assignments.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from constitution.classes import Expand
from constitution.expressions import Condition, Known
from solon.errors import InvalidInput

_MOST_STEPS: Final = 20_000


def probabilities(
    conditions: Mapping[str, Condition],
    known: Mapping[str, Known | None],
    p_yes: Mapping[str, float],
    expand: Expand,
) -> dict[str, float | None]:
    """P(it holds) of each condition, None where that depends on a value that is not known.

    A condition that is left open because something does not apply does not hold.

    Args:
        known: values that are certain; None or absent is unknown.
        p_yes: of the propositions that are not certain and that a condition depends on, in [0, 1], each independent of
            the others; they are tried in this order.
        expand: adds derived propositions and what does not apply.

    Raises:
        InvalidInput: too many propositions in too tangled a way.
    """
    order = list(p_yes)
    totals: dict[str, float | None] = dict.fromkeys(conditions, 0.0)
    open_branches: list[tuple[dict[str, Known | None], float, int]] = [(dict(known), 1.0, 0)]
    for _ in range(_MOST_STEPS):
        if not open_branches:
            return {label: None if total is None else min(1.0, total) for label, total in totals.items()}
        assignment, weight, depth = open_branches.pop()
        values = expand(assignment)
        holding = {label: condition.holds(values) for label, condition in conditions.items()}
        if None in holding.values() and depth < len(order):
            open_branches += _branches(assignment, weight, depth, order[depth], p_yes[order[depth]])
            continue
        for label, holds in holding.items():
            total = totals[label]
            unknown = holds is None and any(values.get(name) is None for name in conditions[label].names)
            totals[label] = None if unknown or total is None else total + weight * bool(holds)
    raise InvalidInput(
        f"a condition depends on {len(order)} uncertain propositions in too tangled a way",
        field=next(iter(conditions.values())).field,
        remedy="use fewer propositions in it",
    )


def _branches(
    assignment: Mapping[str, Known | None], weight: float, depth: int, name: str, p: float
) -> Sequence[tuple[dict[str, Known | None], float, int]]:
    """Both values of a proposition with their shares of the weight; an impossible one is left out."""
    shares = ((False, 1 - p), (True, p))
    return [({**assignment, name: value}, weight * share, depth + 1) for value, share in shares if share > 0]

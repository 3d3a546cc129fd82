"""Weights at request time: one text, read with other emphasis.

    weighted(load("civic"), {"concise": 3.0, "tag:tone": 0.0})

A factor multiplies the weight that the constitution gives a principle: 1 leaves it, 2 doubles it, 0 silences it. A key
is the id of a principle, or `tag:` and a tag for all principles that carry it; factors that meet multiply. The result
is a constitution with its own content hash, since other weights make other labels, and with the same principle hashes,
since they need no other votes. A veto is not a weight: no factor weakens one, and none may silence its principle.
"""

import math
from collections.abc import Mapping
from typing import Final

from constitution.schema import Constitution, Principle
from solon.errors import InvalidInput

TAG: Final = "tag:"
MOST: Final = 100.0
"""Largest factor."""

_HEAVIEST: Final = 1000.0
"""As in the schema."""

Weights = Mapping[str, float]
"""Factor, in [0, MOST], by principle id or `tag:NAME`."""


def weighted(constitution: Constitution, weights: Weights) -> Constitution:
    """The constitution with the weights of its principles multiplied, without those whose weight becomes 0.

    Raises:
        InvalidInput: names an unknown principle or tag, a factor outside [0, 100], a silenced veto or a weight above
            1000, or says that nothing is left.
    """
    if not weights:
        return constitution
    _check(constitution, weights)
    factors = {principle.id: _factor(principle, weights) for principle in constitution.principles}
    silenced = next((each for each in constitution.principles if each.veto and factors[each.id] == 0), None)
    if silenced is not None:
        raise InvalidInput(
            f"{silenced.id!r} is a veto, which no weight can silence",
            field="weights",
            remedy="give a factor above 0, or derive a constitution without the veto",
        )
    kept = [each for each in constitution.principles if factors[each.id] > 0]
    if not kept and not constitution.rules:
        raise InvalidInput("no principle is left", field="weights", remedy="give one of them a factor above 0")
    principles = tuple(_reweighted(each, factors[each.id]) for each in kept)
    names = {each.id for each in kept}
    cases = tuple(case for case in constitution.cases if not case.because or names.intersection(case.because))
    return constitution.model_copy(update={"principles": principles, "cases": cases})


def _factor(principle: Principle, weights: Weights) -> float:
    return weights.get(principle.id, 1.0) * math.prod(weights.get(TAG + tag, 1.0) for tag in principle.tags)


def _reweighted(principle: Principle, factor: float) -> Principle:
    weight = principle.weight * factor
    if weight > _HEAVIEST:
        raise InvalidInput(
            f"the weight of {principle.id!r} becomes {weight:g}, more than {_HEAVIEST:g}",
            field="weights",
            remedy="give smaller factors",
        )
    return principle.model_copy(update={"weight": weight})


def _check(constitution: Constitution, weights: Weights) -> None:
    tags = {TAG + tag for principle in constitution.principles for tag in principle.tags}
    known = {principle.id for principle in constitution.principles} | tags
    for key, factor in weights.items():
        if key not in known:
            raise InvalidInput(
                f"{constitution.id!r} has no principle or tag {key!r}",
                field="weights",
                remedy=f"known: {', '.join(sorted(known))}",
            )
        if not 0 <= factor <= MOST:  # NaN is not either
            raise InvalidInput(
                f"the factor of {key!r} is not between 0 and {MOST:g}",
                field="weights",
                remedy="1 leaves a weight as it is",
            )

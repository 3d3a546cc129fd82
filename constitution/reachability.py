"""Whether a condition can hold, and whether it can fail, by a search over assignments of its propositions.

The search assigns one proposition at a time and lets CEL decide what is already decided. A number takes the values
around every constant that it could be compared with, which decides comparisons; an expression that calculates with
numbers is not judged. Thresholds on one measure are assigned together: no text is both shorter than 12 words and longer
than 600.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from constitution.expressions import NOT_APPLICABLE, Condition, Known
from constitution.propositions import PropositionSet
from constitution.schema import Constitution, MeasureProposition

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_MAX_STEPS = 5_000
_CONSTANT = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")
_CALCULATION = re.compile(r"[-+*/%]|\bdyn\b|\bint\b|\bdouble\b")


class Reach:
    """What the conditions of one constitution can come to."""

    def __init__(self, constitution: Constitution, propositions: PropositionSet) -> None:
        self._propositions = propositions
        self._thresholds = _thresholds(constitution)

    def outcomes(self, condition: Condition) -> frozenset[bool]:
        """Whether some text could make the condition hold, and whether some could not; both when that is too hard.

        A condition that stays open because something does not apply does not hold.
        """
        propositions = self._propositions
        texts = [condition.text, *(each.text for each in self._conditions_behind(condition))]
        basic = propositions.basic(condition.names)
        names = [name for name in propositions.kinds if name in basic]
        numbers = [name for name in names if propositions.kinds[name] != "bool"]
        if numbers and any(_CALCULATION.search(text) for text in texts):
            return frozenset({True, False})
        domains = {name: self._domain(name, texts, len(numbers)) for name in numbers}
        found: set[bool] = set()
        steps, branches = 0, list[dict[str, Known | None]]([{}])
        while branches and len(found) < 2:
            steps += 1
            if steps > _MAX_STEPS:
                return frozenset({True, False})
            assignment = branches.pop()
            if not self._possible(assignment):
                continue
            values = propositions.expand(assignment)
            holds = condition.holds(values)
            if holds is not None or len(assignment) == len(names):
                found.add(holds is True)
                continue
            name = names[len(assignment)]
            choices = domains[name] if name in domains else propositions.choices(name, values)
            for choice in choices:
                branches.append({**assignment, name: choice})
        return frozenset(found)

    def _conditions_behind(self, condition: Condition) -> Iterator[Condition]:
        """Those of the derived and optional propositions that decide it."""
        for name in self._propositions.behind(condition.names):
            for conditions in (self._propositions.derived, self._propositions.only_if):
                if name in conditions:
                    yield conditions[name]

    def _domain(self, name: str, texts: Iterable[str], numbers: int) -> list[Known]:
        """Values of a number between which no comparison with a constant of `texts` can tell."""
        whole = self._propositions.kinds[name] == "int"
        constants = {0.0, *(float(constant) for text in texts for constant in _CONSTANT.findall(text))}
        around = [step * (1 if whole else 1e-6) for step in range(-numbers, numbers + 1)]
        values = sorted({constant + step for constant in constants for step in around})
        absent: list[Known] = [NOT_APPLICABLE] if name in self._propositions.optional else []
        return [*absent, *((int(value) for value in values if value >= 0) if whole else values)]

    def _possible(self, assignment: Mapping[str, Known | None]) -> bool:
        """Whether one number could satisfy all assigned thresholds of each measure."""
        for limits in self._thresholds:
            given = [(limit, assignment.get(limit.id)) for limit in limits]
            assigned = [(limit, value) for limit, value in given if isinstance(value, bool)]
            bounds = [limit.value for limit, _ in assigned if limit.value is not None]
            candidates = [bound + step for bound in bounds for step in (-0.5, 0, 0.5)]
            if assigned and not any(all(_holds(limit, x) is value for limit, value in assigned) for x in candidates):
                return False
        return True


def _thresholds(constitution: Constitution) -> list[list[MeasureProposition]]:
    """The propositions that limit the same measure, in groups of two and more."""
    groups: dict[str, list[MeasureProposition]] = {}
    for each in constitution.propositions:
        if each.kind == "measure" and each.op is not None:
            measured = each.model_dump_json(exclude={"id", "kind", "op", "value"})
            groups.setdefault(measured, []).append(each)
    return [limits for limits in groups.values() if len(limits) > 1]


def _holds(limit: MeasureProposition, value: float) -> bool:
    return limit.op is not None and limit.value is not None and COMPARISONS[limit.op](value, limit.value)

"""Propositions read off the text of a completion: RE2 patterns and measures."""

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from constitution.document import MeasureProposition, Proposition
from constitution.expressions import Value
from critic.rules.measures import MEASURES

Reader = Callable[[str], Value]
"""From the text of a completion to a proposition's value."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def readers(propositions: Iterable[Proposition], patterns: Mapping[str, Any]) -> dict[str, Reader]:
    """A reader for each proposition that needs no judge, by id; `patterns` are compiled RE2."""
    found: dict[str, Reader] = {}
    for proposition in propositions:
        if proposition.kind == "regex":
            found[proposition.id] = _found(patterns[proposition.id])
        elif proposition.kind == "measure":
            found[proposition.id] = _compared(proposition, _measure(proposition, patterns))
    return found


def _found(pattern: Any) -> Reader:
    return lambda text: pattern.search(text) is not None


def _measure(proposition: MeasureProposition, patterns: Mapping[str, Any]) -> Reader:
    if proposition.pattern is None:
        return MEASURES[proposition.measure]
    occurrences = patterns[proposition.id].finditer
    return lambda text: sum(1 for _ in occurrences(text))


def _compared(proposition: MeasureProposition, measure: Reader) -> Reader:
    if proposition.op is None or proposition.value is None:
        return measure
    compare, value = _COMPARISONS[proposition.op], proposition.value
    return lambda text: compare(measure(text), value)

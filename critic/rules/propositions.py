"""Propositions as values: RE2 patterns and measures are read off the text, derived ones follow from the others.

Judge propositions are asked elsewhere; here they arrive as P(yes) and hold from 0.5 on.
"""

import operator
from collections.abc import Callable, Iterable, Mapping

import re2

from constitution.document import Constitution, MeasureProposition, Proposition, RegexProposition
from critic.rules.expressions import Condition, Kind, Value, is_reserved
from critic.rules.measures import MEASURES
from solon.errors import InvalidInput

Reader = Callable[[str], Value]
"""From the text of a completion to a proposition's value."""

_HOLDS_FROM = 0.5
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


class PropositionSet:
    """The propositions of a constitution, compiled; raises `InvalidInput` on a bad pattern, expression or id."""

    def __init__(self, constitution: Constitution) -> None:
        self.kinds: dict[str, Kind] = {}
        """CEL type of each proposition, in file order."""
        self.questions: dict[str, str] = {}
        """Judge propositions and what they ask."""
        self.readers: dict[str, Reader] = {}
        self.derived: dict[str, Condition] = {}
        for index, proposition in enumerate(constitution.propositions):
            self._add(proposition, field=f"propositions[{index}]")

    def _add(self, proposition: Proposition, *, field: str) -> None:
        if is_reserved(proposition.id):
            raise InvalidInput(f"{proposition.id!r} is a word of CEL", field=f"{field}.id", remedy="rename it")
        if proposition.kind == "judge":
            self.questions[proposition.id] = proposition.question
        elif proposition.kind == "derived":
            self.derived[proposition.id] = Condition(proposition.when, self.kinds, field=f"{field}.when")
        else:
            self.readers[proposition.id] = _reader(proposition, field=field)
        self.kinds[proposition.id] = _kind(proposition)

    def basic(self, names: Iterable[str]) -> frozenset[str]:
        """`names` with every derived proposition replaced by what it depends on."""
        found = set(names)
        for name in reversed(self.derived):
            if name in found:
                found.remove(name)
                found |= self.derived[name].names
        return frozenset(found)

    def expand(self, values: Mapping[str, Value | None]) -> dict[str, Value | None]:
        """`values` with the derived propositions; one that the known values leave open is None."""
        expanded = dict(values)
        for name, condition in self.derived.items():
            expanded[name] = condition.holds(expanded)
        return expanded

    def typed(self, name: str, value: Value | None) -> Value | None:
        """`value` as CEL sees it: P(yes) of a judge proposition becomes true or false.

        Raises:
            InvalidInput: there is no such proposition, it is derived, or the value has another type.
        """
        kind = self.kinds.get(name)
        if kind is None or name in self.derived:
            known = ", ".join(name for name in self.kinds if name not in self.derived)
            raise InvalidInput(f"{name!r} is not a proposition to be given", field=name, remedy=f"known: {known}")
        if value is None or (kind == "bool" and isinstance(value, bool)):
            return value
        number = not isinstance(value, bool)
        if name in self.questions and number and 0 <= value <= 1:
            return value >= _HOLDS_FROM
        if kind == "float" and number:
            return float(value)
        if kind == "int" and number and value == int(value):
            return int(value)
        raise InvalidInput(f"{value!r} is not a value of type {kind}", field=name, remedy="correct the row")


def _kind(proposition: Proposition) -> Kind:
    """The type a proposition has in CEL."""
    if proposition.kind != "measure" or proposition.op is not None or proposition.measure == "finished_last_sentence":
        return "bool"
    return "float" if proposition.measure == "repetition" else "int"


def _reader(proposition: RegexProposition | MeasureProposition, *, field: str) -> Reader:
    if proposition.kind == "regex":
        found = _compiled(proposition.pattern, field=f"{field}.pattern").search
        return lambda text: found(text) is not None
    if proposition.pattern is not None:
        occurrences = _compiled(proposition.pattern, field=f"{field}.pattern").finditer
        return _compared(proposition, lambda text: sum(1 for _ in occurrences(text)))
    return _compared(proposition, MEASURES[proposition.measure])


def _compared(proposition: MeasureProposition, measure: Reader) -> Reader:
    if proposition.op is None or proposition.value is None:
        return measure
    compare, value = _COMPARISONS[proposition.op], proposition.value
    return lambda text: compare(measure(text), value)


def _compiled(pattern: str, *, field: str):  # noqa: ANN202 - re2 publishes no name for its pattern type
    options = re2.Options()
    options.log_errors = False  # the library would write to stderr
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise InvalidInput(
            f"not an RE2 pattern: {reason}", field=field, remedy="RE2 has no look-around and no back-references"
        ) from None

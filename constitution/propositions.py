"""The propositions of a constitution, compiled: their types in CEL, questions, RE2 patterns and derived conditions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import re2

from constitution.expressions import Condition, Kind, Value, is_reserved
from constitution.schema import Proposition
from solon.errors import InvalidInput

_HOLDS_FROM = 0.5


class PropositionSet:
    """The propositions in file order. What is wrong with one is kept in `errors`; its name stays known."""

    def __init__(self, propositions: Iterable[Proposition]) -> None:
        self.kinds: dict[str, Kind] = {}
        """CEL type of each proposition."""
        self.questions: dict[str, str] = {}
        """Judge propositions and what they ask."""
        self.patterns: dict[str, Any] = {}
        """Compiled RE2 patterns of the propositions that have one."""
        self.derived: dict[str, Condition] = {}
        self.errors: list[InvalidInput] = []
        for index, proposition in enumerate(propositions):
            try:
                self._add(proposition, field=f"propositions[{index}]")
            except InvalidInput as error:
                self.errors.append(error)
            self.kinds[proposition.id] = _kind(proposition)

    def _add(self, proposition: Proposition, *, field: str) -> None:
        if is_reserved(proposition.id):
            raise InvalidInput(f"{proposition.id!r} is a word of CEL", field=f"{field}.id", remedy="rename it")
        if proposition.kind == "judge":
            self.questions[proposition.id] = proposition.question
        elif proposition.kind == "derived":
            self.derived[proposition.id] = Condition(proposition.when, self.kinds, field=f"{field}.when")
        elif proposition.pattern is not None:
            self.patterns[proposition.id] = _compiled(proposition.pattern, field=f"{field}.pattern")

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


def _compiled(pattern: str, *, field: str) -> Any:  # re2 publishes no name for its pattern type
    options = re2.Options()
    options.log_errors = False  # the library would write to stderr
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        perl = re.search(r"perl operator|escape sequence: \\\d", reason)
        remedy = "RE2 has no look-around and no back-references" if perl else "see the syntax of RE2"
        raise InvalidInput(f"not an RE2 pattern: {reason}", field=field, remedy=remedy) from None

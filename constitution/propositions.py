"""The propositions of a constitution, compiled: their types in CEL, questions, RE2 patterns and derived conditions.

Beside a proposition `x` that may not apply to a completion stands `x_applies`, which is true or false.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import re2

from constitution.expressions import NOT_APPLICABLE, Condition, Kind, Known, NotApplicable, is_reserved
from constitution.schema import PROMPT_MEASURES, MeasureProposition, Proposition
from solon.errors import InvalidInput

_HOLDS_FROM = 0.5
_APPLIES = "_applies"
_BOOLEAN_MEASURES = frozenset({"finished_last_sentence", "valid_json", "correct_answer"})
_SHARES = frozenset({"repetition", "reading_grade", "language", "instructions_followed"})
"""Measures that are not counts."""


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
        self.only_if: dict[str, Condition] = {}
        """Where a judge proposition applies, for those that do not always."""
        self.optional: set[str] = set()
        """Propositions that may not apply."""
        self.errors: list[InvalidInput] = []
        for index, proposition in enumerate(propositions):
            try:
                self._add(proposition, field=f"propositions[{index}]")
            except InvalidInput as error:
                self.errors.append(error)
            self.kinds[proposition.id] = _kind(proposition)
            if proposition.id in self.optional:
                self.kinds[proposition.id + _APPLIES] = "bool"

    def _add(self, proposition: Proposition, *, field: str) -> None:
        if is_reserved(proposition.id):
            raise InvalidInput(f"{proposition.id!r} is a word of CEL", field=f"{field}.id", remedy="rename it")
        if self._is_applies(proposition.id) or proposition.id + _APPLIES in self.kinds:
            raise InvalidInput(
                f"a name ending in {_APPLIES!r} says whether another proposition applies",
                field=f"{field}.id",
                remedy="rename it",
            )
        if proposition.kind == "judge":
            self.questions[proposition.id] = proposition.question
            if proposition.only_if is not None:
                self.optional.add(proposition.id)
                condition = Condition(proposition.only_if, self.kinds, field=f"{field}.only_if")
                self.only_if[proposition.id] = condition
        elif proposition.kind == "derived":
            self.derived[proposition.id] = Condition(proposition.when, self.kinds, field=f"{field}.when")
        elif proposition.kind == "measure" and _needs_the_prompt(proposition):
            self.optional.add(proposition.id)
        elif proposition.pattern is not None:
            self.patterns[proposition.id] = _compiled(proposition.pattern, field=f"{field}.pattern")

    def basic(self, names: Iterable[str]) -> frozenset[str]:
        """`names` with every derived proposition replaced by what it depends on."""
        found = set(names)
        for name in reversed(self.kinds):
            if name not in found:
                continue
            if name in self.derived:
                found.remove(name)
                found |= self.derived[name].names
            elif self._is_applies(name):
                found.remove(name)
                found.add(name.removesuffix(_APPLIES))
            elif name in self.only_if:
                found |= self.only_if[name].names
        return frozenset(found)

    def behind(self, names: Iterable[str]) -> frozenset[str]:
        """`names` and every proposition that decides one of them."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            waiting += [name.removesuffix(_APPLIES)] if self._is_applies(name) else []
            waiting += self.derived[name].names if name in self.derived else ()
            waiting += self.only_if[name].names if name in self.only_if else ()
        return frozenset(found)

    def expand(self, values: Mapping[str, Known | None]) -> dict[str, Known | None]:
        """`values` with the derived propositions and with what does not apply.

        A derived proposition that the known values leave open is None; one that is open only because something does not
        apply does not apply either.
        """
        expanded = dict(values)
        for name in self.kinds:
            if name in self.derived:
                expanded[name] = _outcome(self.derived[name], expanded)
            elif name in self.optional:
                applies = self._applies(name, expanded)
                expanded[name + _APPLIES] = applies
                if applies is False:
                    expanded[name] = NOT_APPLICABLE
        return expanded

    def choices(self, name: str, values: Mapping[str, Known | None]) -> Sequence[Known]:
        """Values that a Boolean proposition can have, given expanded values of those before it."""
        if name not in self.optional:
            return (False, True)
        applies = values.get(name + _APPLIES)
        return (NOT_APPLICABLE,) if applies is False else (False, True) if applies else (False, True, NOT_APPLICABLE)

    def _applies(self, name: str, values: Mapping[str, Known | None]) -> bool | None:
        """Whether an optional proposition applies; None where that is unknown."""
        if name in self.only_if:
            outcome = _outcome(self.only_if[name], values)
            return outcome if outcome != NOT_APPLICABLE else False
        value = values.get(name)
        return None if value is None else value != NOT_APPLICABLE

    def _not_applicable(self, name: str, value: str) -> NotApplicable:
        if value != NOT_APPLICABLE:
            raise InvalidInput("text is not a value", field=name, remedy=f"write true, false or {NOT_APPLICABLE!r}")
        if name not in self.optional:
            raise InvalidInput("this proposition always applies", field=name, remedy="give its value, or null")
        return NOT_APPLICABLE

    def _is_applies(self, name: str) -> bool:
        return name.endswith(_APPLIES) and name.removesuffix(_APPLIES) in self.optional

    def typed(self, name: str, value: Known | None) -> Known | None:
        """`value` as CEL sees it: P(yes) of a judge proposition becomes true or false.

        Raises:
            InvalidInput: there is no such proposition, it is derived, or the value has another type.
        """
        kind = self.kinds.get(name)
        if kind is None or name in self.derived or self._is_applies(name):
            known = ", ".join(name for name in self.kinds if name not in self.derived and not self._is_applies(name))
            raise InvalidInput(f"{name!r} is not a proposition to be given", field=name, remedy=f"known: {known}")
        if value is None or (kind == "bool" and isinstance(value, bool)):
            return value
        if isinstance(value, str):
            return self._not_applicable(name, value)
        number = not isinstance(value, bool)
        if name in self.questions and number and 0 <= value <= 1:
            return value >= _HOLDS_FROM
        if kind == "float" and number:
            return float(value)
        if kind == "int" and number and value == int(value):
            return int(value)
        raise InvalidInput(f"{value!r} is not a value of type {kind}", field=name, remedy="correct the row")


def _outcome(condition: Condition, values: Mapping[str, Known | None]) -> bool | NotApplicable | None:
    """Whether a condition holds; `not_applicable` where it is open though nothing it depends on is unknown."""
    holds = condition.holds(values)
    if holds is None and all(values.get(name) is not None for name in condition.names):
        return NOT_APPLICABLE
    return holds


def _needs_the_prompt(proposition: MeasureProposition) -> bool:
    return proposition.measure in PROMPT_MEASURES and proposition.language is None


def _kind(proposition: Proposition) -> Kind:
    """The type a proposition has in CEL."""
    if proposition.kind != "measure" or proposition.op is not None or proposition.measure in _BOOLEAN_MEASURES:
        return "bool"
    return "float" if proposition.measure in _SHARES else "int"


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

"""CEL conditions over propositions, type-checked when they are compiled.

A proposition may be unknown. CEL's own logic then decides what can be decided: `true || unknown` holds, `!unknown` is
unknown. An unknown condition is None, never false. A proposition that does not apply is a value of its own; CEL sees it
like an unknown one.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

from cel_expr_python import cel

from solon.errors import InvalidInput

Value = bool | int | float
NotApplicable = Literal["not_applicable"]
NOT_APPLICABLE: Final[NotApplicable] = get_args(NotApplicable)[0]
"""The value of a proposition that says nothing about a completion, such as how it apologises where it does not."""
Known = Value | NotApplicable
"""What is known of a proposition; None beside it is unknown."""
Kind = Literal["bool", "int", "float"]

_TYPES = {"bool": cel.Type.BOOL, "int": cel.Type.INT, "float": cel.Type.DOUBLE}
# fmt: off
_RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
    "namespace", "null", "package", "return", "true", "var", "void", "while",
})
# fmt: on
_IDENTIFIER = re.compile(r"[a-z_]\w*")
_PLACE = re.compile(r"<input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_COMPREHENSION = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(")

_HINTS = {
    "Syntax error": "CEL joins conditions with &&, || and !, and compares with ==",
    "(double, int)": "write a whole number beside a share as 1.0",
    "(int, double)": "a count is compared with a whole number",
    "no matching overload": "propositions are true or false, counts are whole numbers, shares have a decimal point",
}
"""Remedy by a part of CEL's complaint."""


class Condition:
    """A compiled CEL expression of type bool; `field` is what error messages call it."""

    def __init__(self, text: str, kinds: Mapping[str, Kind], *, field: str) -> None:
        """Raises `InvalidInput` when the text is not CEL, uses an unknown name, loops, or is not a bool."""
        self.text = text
        self.field = field
        self.names = frozenset(_IDENTIFIER.findall(text)) & kinds.keys()
        """Propositions it may depend on: a superset, as a name inside a string literal counts too."""
        if _COMPREHENSION.search(text):
            raise InvalidInput("comprehensions are not allowed", field=field, remedy="write the parts out")
        environment = cel.NewEnv(variables={name: _TYPES[kind] for name, kind in kinds.items()})
        try:
            self._compiled = environment.compile(text)
        except RuntimeError as error:
            raise _explained(text, str(error), kinds, field) from None
        if self._compiled.return_type() != cel.Type.BOOL:
            raise InvalidInput(
                f"`{text}` is of type {self._compiled.return_type().name().lower()}, not true or false",
                field=field,
                remedy="compare it with something",
            )

    def holds(self, values: Mapping[str, Known | None]) -> bool | None:
        """Whether it holds under these values; None when that depends on one that is unknown or does not apply."""
        known = {
            name: value
            for name, value in values.items()
            if name in self.names and value is not None and value != NOT_APPLICABLE
        }
        result = self._compiled.eval(data=known)
        return result.value() if result.type() == cel.Type.BOOL else None


def is_reserved(name: str) -> bool:
    """Whether CEL reserves the word, so that no proposition can have it as its id."""
    return name in _RESERVED


def nearest(name: str, known: Iterable[str]) -> str:
    """ "did you mean ...? " for the known name that `name` resembles most, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}? " if close else ""


def _explained(text: str, message: str, kinds: Mapping[str, Kind], field: str) -> InvalidInput:
    """The first complaint of CEL's checker, with its column and a remedy."""
    place = _PLACE.search(message)
    where, complaint = (f" at column {place[2]}", place[3]) if place else ("", message.partition("\n")[0])
    known = f"known: {_listing(kinds)}"
    undeclared = _UNDECLARED.search(complaint)
    if undeclared is None:
        complaint = complaint.partition(" expecting ")[0].replace("'<EOF>'", "the end")
        hint = next((hint for part, hint in _HINTS.items() if part in complaint), known)
        return InvalidInput(f"{complaint}{where}", field=field, remedy=hint)
    name = undeclared[1]
    if re.search(rf"\b{re.escape(name)}\s*\(", text):
        return InvalidInput(f"unknown function {name!r}{where}", field=field, remedy="see the functions of CEL")
    return InvalidInput(f"unknown proposition {name!r}{where}", field=field, remedy=nearest(name, kinds) + known)


def _listing(kinds: Mapping[str, Kind]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "no propositions"

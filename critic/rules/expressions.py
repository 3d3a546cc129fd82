"""CEL conditions over propositions, type-checked when they are compiled.

A proposition may be unknown. CEL's own logic then decides what can be decided: `true || unknown` holds, `!unknown` is
unknown. An unknown condition is None, never false.
"""

import re
from collections.abc import Mapping
from typing import Literal

from cel_expr_python import cel

from solon.errors import InvalidInput

Value = bool | int | float
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


class Condition:
    """A compiled CEL expression of type bool; `field` is what error messages call it."""

    def __init__(self, text: str, kinds: Mapping[str, Kind], *, field: str) -> None:
        """Raises `InvalidInput` when the text is not CEL, uses an unknown name, or is not a bool."""
        self.text = text
        self.field = field
        self.names = frozenset(_IDENTIFIER.findall(text)) & kinds.keys()
        """Propositions it may depend on: a superset, as a name inside a string literal counts too."""
        environment = cel.NewEnv(variables={name: _TYPES[kind] for name, kind in kinds.items()})
        try:
            self._compiled = environment.compile(text)
        except RuntimeError as error:
            raise InvalidInput(_explain(str(error)), field=field, remedy=f"known: {_listing(kinds)}") from None
        if self._compiled.return_type() != cel.Type.BOOL:
            raise InvalidInput(
                f"`{text}` is a {self._compiled.return_type().name()}, not true or false",
                field=field,
                remedy="compare it with something",
            )

    def holds(self, values: Mapping[str, Value | None]) -> bool | None:
        """Whether it holds under these values; None when that depends on a value that is missing or None."""
        known = {name: value for name, value in values.items() if name in self.names and value is not None}
        result = self._compiled.eval(data=known)
        return result.value() if result.type() == cel.Type.BOOL else None


def is_reserved(name: str) -> bool:
    """Whether CEL reserves the word, so that no proposition can have it as its id."""
    return name in _RESERVED


def _explain(message: str) -> str:
    """The first complaint of CEL's checker on one line, with its column."""
    place = _PLACE.search(message)
    return f"column {place[2]}: {place[3]}" if place else message.partition("\n")[0]


def _listing(kinds: Mapping[str, Kind]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "no propositions"

"""What is wrong with a constitution file, in the words and at the place that help to mend it."""

import re
from dataclasses import dataclass
from typing import Literal

FieldPath = tuple[str | int, ...]
"""Keys and list indices from the root of the document."""
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One finding about a constitution file, with where and what to do; lines and columns count from 1."""

    message: str
    hint: str = ""
    field: str | None = None
    """Such as `principles[0].weight`; None: the file as a whole."""
    line: int = 1
    column: int = 1
    severity: Severity = "error"
    """A file with an error is refused; a warning is advice."""

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}: "
        kind = "warning: " if self.severity == "warning" else ""
        field = f"{self.field}: " if self.field else ""
        return where + kind + field + self.message + (f" ({self.hint})" if self.hint else "")


class SourceError(Exception):
    """The text cannot be read as plain YAML data; carries the one `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def dotted(path: FieldPath) -> str:
    """`path` as people write it, such as `principles[0].weight`; empty for the document itself."""
    written = ""
    for key in path:
        written += f"[{key}]" if isinstance(key, int) else f".{key}" if written else str(key)
    return written


def path_of(field: str) -> FieldPath:
    """The path that `dotted` writes as `field`."""
    return tuple(int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", field))

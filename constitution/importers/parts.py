"""What an importer makes of a foreign document, before it is a constitution."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Format = Literal["critique-revision", "llm-swarm", "rule-based-rewards", "markdown"]
MAX_ID = 63


@dataclass(frozen=True)
class Parts:
    """Fields of a constitution, and what people should know about how they came about."""

    fields: dict[str, Any]
    notes: tuple[str, ...] = ()
    """Whole sentences: what was changed, added or left out."""


class Foreign(BaseModel):
    """A part of a foreign document. An unknown key is refused: nothing of a constitution is lost unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def slug(text: str, otherwise: str = "part") -> str:
    """`text` as an id: small ASCII letters, digits and hyphens, beginning with a letter; underscores stay."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9_]+", "-", plain.replace("'", "")).strip("-_")
    plain = re.sub(r"^[^a-z]+", "", plain)
    return plain[:MAX_ID].rstrip("-_") or otherwise


def distinct(ids: Iterable[str]) -> list[str]:
    """`ids` in their order, with -2, -3, ... after those that came before."""
    given: list[str] = []
    for name in ids:
        candidate, number = name, 2
        while candidate in given:
            suffix = f"-{number}"
            candidate, number = name[: MAX_ID - len(suffix)] + suffix, number + 1
        given.append(candidate)
    return given


def counted(number: int, one: str, many: str) -> tuple[str, ...]:
    """A note with a number in it, or none for 0."""
    return (f"{number} {one if number == 1 else many}.",) if number else ()

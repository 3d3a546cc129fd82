"""Rules applied to propositions that people or another judge already answered: no text, no model call."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, ValidationError

from critic.rules.ruleset import RuleSet
from solon.errors import InvalidInput, NotFound

Value = StrictBool | StrictInt | StrictFloat | Literal["not_applicable"] | None
"""Of a given proposition; None is unknown."""


class Given(BaseModel):
    """One row: values by proposition; other keys are kept and passed through."""

    model_config = ConfigDict(extra="allow", strict=True)

    propositions: dict[str, Value]
    scope: str | None = None
    response_type: str | None = None
    """Another way to write `scope`, from published rule-based rewards: "Hard Refuse" is the scope `hard_refuse`."""

    @property
    def effective_scope(self) -> str:
        """The scope the row names, `general` where it names none."""
        return self.scope or (self.response_type or "general").lower().replace(" ", "_")


Key = Literal["derived", "class", "reward", "fired"]


def classify_rows(rules: RuleSet, path: Path) -> Iterator[dict[str, Any]]:
    """Each row of a JSONL file with `derived`, `class`, `reward` and `fired` added; blank lines are skipped.

    Raises:
        NotFound: there is no such file.
        InvalidInput: names the line and key of the first row that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", remedy="give the path of a JSONL file") from error
    except UnicodeDecodeError as error:
        raise InvalidInput("not UTF-8 text", field=str(path), remedy="save the file as UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield classify_row(rules, line, where=f"{path}:{number}")


def classify_row(rules: RuleSet, line: str, *, where: str) -> dict[str, Any]:
    """One JSON row with its classification; `where` is what errors call the place."""
    try:
        row: Any = json.loads(line)
        given = Given.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        remedy = 'write {"propositions": {"refuses": true, ...}}'
        raise InvalidInput(first["msg"].lower(), field=f"{where}: {key}" if key else where, remedy=remedy) from error
    except ValueError as error:
        raise InvalidInput("not JSON", field=where, remedy="write one JSON object a line (JSONL)") from error
    try:
        found = rules.classify(given.propositions, given.effective_scope)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=f"{where}: {error.field}", remedy=error.remedy) from error
    added: dict[Key, Any] = {
        "derived": found.derived,
        "class": found.completion_class,
        "reward": found.score.reward,
        "fired": list(found.score.fired),
    }
    return {**row, **added}

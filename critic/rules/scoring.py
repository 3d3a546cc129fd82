"""The rules' view of the completions of one row: values, class, exact probabilities, reward; ranks, where given.

A row may bring what would otherwise be read or asked, each a list with one entry per completion:

    "propositions": [{"refuses": true}, {"refuses": false}]    given answers; a question that is given is not asked
    "ranks": [2, 1]                                            1 is best, equal numbers are ties
    "rewards": [0.3, -1.2]                                     of a reward model
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from critic.concurrency import together
from critic.rules.fitting import Ranked
from critic.rules.given import Value
from critic.rules.ruleset import Ask, Chances, Classification, Propositions, RuleSet
from critic.rules.weights import Over, features
from solon.errors import InvalidInput
from solon.records import Completion, Prompt
from solon.rows import Row

_GIVEN = TypeAdapter(list[dict[str, Value]])
_NUMBERS = TypeAdapter(list[float])


@dataclass(frozen=True)
class Scored:
    """What the rules say of one completion."""

    completion: Completion
    propositions: Propositions
    classification: Classification
    chances: Chances


async def score_row(rules: RuleSet, row: Row, ask: Ask | None) -> list[Scored]:
    """The scores of a row's completions, in their order.

    Raises:
        InvalidInput: names the row where its scope, metadata or given propositions cannot be used.
    """
    given = _given(row)
    try:
        return await together(
            _score(rules, row.prompt, each, ask, given.get(i, {})) for i, each in enumerate(row.completions)
        )
    except InvalidInput as error:
        field = error.field or ""
        place = field if field.startswith("row ") else f"row {row.prompt.id}: {field}"
        raise InvalidInput(error.message, field=place, remedy=error.remedy) from error


async def _score(
    rules: RuleSet, prompt: Prompt, completion: Completion, ask: Ask | None, given: Mapping[str, Value]
) -> Scored:
    values = await rules.read(prompt, completion, ask, given)
    return Scored(completion, values, rules.classify(values, prompt.scope), rules.chances(values, prompt.scope))


def ranked(row: Row, scored: list[Scored], over: Over) -> list[Ranked]:
    """The completions of a row with their ranks; none where the row says nothing of which is better."""
    ranks, rewards = _ranks(row), _numbers(row, "rewards")
    if ranks is None:
        return []
    key = _prompt_key(row.prompt)
    return [
        Ranked(key, row.prompt.scope, ranks[i], features(each.chances, over), None if rewards is None else rewards[i])
        for i, each in enumerate(scored)
    ]


def rewards(row: Row) -> list[float] | None:
    """The reward model's rewards that the row brings."""
    return _numbers(row, "rewards")


def given_propositions(row: Row) -> dict[int, dict[str, Value]]:
    """The propositions that the row brings, by the place of the completion."""
    return _given(row)


def _ranks(row: Row) -> list[float] | None:
    """The row's ranks: its own, or those of people's votes on the first of two."""
    own = _numbers(row, "ranks")
    if own is not None or not row.human_votes or len(row.completions) != 2:
        return own
    points = sum({"a": 1, "b": -1, "tie": 0}[vote] for vote in row.human_votes)
    return [1.0 if points >= 0 else 2.0, 1.0 if points <= 0 else 2.0]


def _given(row: Row) -> dict[int, dict[str, Value]]:
    if "propositions" not in row.extra:
        return {}
    return dict(enumerate(_validated(row, "propositions", _GIVEN)))


def _numbers(row: Row, key: str) -> list[float] | None:
    return _validated(row, key, _NUMBERS) if key in row.extra else None


def _validated(row: Row, key: str, kind: TypeAdapter[Any]) -> Any:
    field = f"row {row.prompt.id}: {key}"
    try:
        values = kind.validate_python(row.extra[key], strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(
            first["msg"].lower(), field=field, remedy="give a list, one entry for each completion"
        ) from error
    if len(values) != len(row.completions):
        raise InvalidInput(
            f"{len(values)} entries for {len(row.completions)} completions",
            field=field,
            remedy="give one entry for each completion",
        )
    return values


def _prompt_key(prompt: Prompt) -> str:
    turns = [[message.role, message.content] for message in prompt.messages]
    return hashlib.sha256(json.dumps(turns).encode()).hexdigest()

"""Input rows: what `label`, `critique` and `audit` accept, one JSON object a line (the table is in docs).

    {"prompt": "..."} or {"messages": [...]} or {"instruction": "...", "input": "..."}
    and, if there are completions already: "completions" | "response_a" + "response_b" | "chosen" + "rejected"

People's verdicts ("chosen", "label", "votes") are kept apart from the completions: they are for audits and no judge
sees them. Keys we do not know are kept in `extra`.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeGuard, cast

from pydantic import Field

from solon.errors import InvalidInput
from solon.formats import text_lines
from solon.records import Completion, Message, Prompt, Record

HumanVote = Literal["a", "b", "tie"]

_COMPLETION_KEYS = (("completions",), ("response_a", "response_b"), ("chosen", "rejected"))
_PROMPT_KEYS = ("prompt", "messages", "instruction")
_ROLES = ("system", "user", "assistant")


class Row(Record):
    """One prompt, the completions given for it, if any, and what people said of the first two."""

    prompt: Prompt
    completions: tuple[Completion, ...] = ()
    human_votes: tuple[HumanVote, ...] = ()
    """About `completions`: "a" is the first, "b" the second. Never shown to the judge."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Keys we do not know."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSONL file, one at a time; blank lines are skipped.

    Raises:
        NotFound: there is no such file.
        InvalidInput: names the file, line and key of the first row that cannot be read, or says that there is none.
    """
    lines_of_ids: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"{path}:{number}"
        values = _json(line, where)
        row = parse_row(values, where=where, default_id=f"row-{number:06d}")
        first = lines_of_ids.setdefault(row.prompt.id, number)
        if first != number:
            raise InvalidInput(f"the id was used in line {first}", field=f"{where}: id", remedy="give each its own id")
        yield row
    if not lines_of_ids:
        raise InvalidInput("the file holds no rows", field=str(path), remedy="write one JSON object a line (JSONL)")


def parse_row(values: Any, *, where: str, default_id: str) -> Row:
    """The row in one JSON object; `where` is what errors call the place."""
    if not _is_object(values):
        raise InvalidInput("not a JSON object", field=where, remedy='write {"prompt": "..."}')
    rest = dict(values)
    if "human_votes" in rest:
        _wrong(where, "human_votes", "is a key of ours", "call it `votes`, beside `response_a` and `response_b`")
    for key, value in rest.items():
        if not _is_finite(value):
            _wrong(where, key, "holds a number that is infinite or none (NaN)", "write null, or a text")
    messages = _messages(rest, where)
    completions, votes = _completions(rest, where)
    row_id = rest.pop("id", default_id)
    if not isinstance(row_id, str | int) or isinstance(row_id, bool) or row_id == "":
        _wrong(where, "id", "is not text", "write a text or leave it out")
    scope = rest.pop("scope", "general")
    metadata = rest.pop("metadata", {})
    if not isinstance(scope, str):
        _wrong(where, "scope", "is not text", "name a scope of the constitution or leave it out")
    if not _is_object(metadata):
        _wrong(where, "metadata", "is not an object", "write {...} or leave it out")
    prompt = Prompt(id=str(row_id), messages=messages, scope=scope, metadata=metadata)
    return Row(prompt=prompt, completions=completions, human_votes=votes, extra=rest)


def _json(line: str, where: str) -> Any:
    try:
        values = json.loads(line)
        if "\\ud" in line.lower():  # an escaped surrogate: half a character could not be written again
            json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            "holds half of a character (an unpaired surrogate)", field=where, remedy="save the file as UTF-8 JSONL"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput("not JSON", field=where, remedy="write one JSON object a line (JSONL)") from error
    return values


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, raw in text_lines(path):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                "not UTF-8 text", field=f"{path}:{number}", remedy="save the file as UTF-8 JSONL"
            ) from error


def _messages(rest: dict[str, Any], where: str) -> tuple[Message, ...]:
    given = [key for key in _PROMPT_KEYS if key in rest]
    if len(given) != 1:
        what = "has no prompt" if not given else f"has both {given[0]} and {given[1]}"
        raise InvalidInput(f"the row {what}", field=where, remedy="give `prompt` (text) or `messages` (chat)")
    key = given[0]
    if key == "messages":
        return _chat(rest.pop(key), where)
    text = _text(rest, key, where)
    context = _text(rest, "input", where) if key == "instruction" and "input" in rest else ""
    text = f"{text}\n\n{context}" if context.strip() else text
    if not text.strip():
        _wrong(where, key, "is empty", "write what was asked")
    return (Message(role="user", content=text),)


def _chat(turns: Any, where: str) -> tuple[Message, ...]:
    if not _is_list(turns) or not turns:
        _wrong(where, "messages", "is not a list of turns", 'write [{"role": "user", "content": "..."}]')
    messages: list[Message] = []
    for index, turn in enumerate(turns):
        at = f"messages.{index}"
        if not _is_object(turn) or set(turn) != {"role", "content"}:
            _wrong(where, at, "is not a turn", "give each turn `role` and `content`, and nothing else")
        role, content = turn["role"], turn["content"]
        if role not in _ROLES:
            _wrong(where, f"{at}.role", "is not a role", f"use one of {', '.join(_ROLES)}")
        if not isinstance(content, str):
            _wrong(where, f"{at}.content", "is not text", "write the turn as text")
        messages.append(Message(role=role, content=content))
    if messages[-1].role != "user":
        _wrong(where, "messages", "does not end with the user", "move the last turn to `completions`")
    return tuple(messages)


def _completions(rest: dict[str, Any], where: str) -> tuple[tuple[Completion, ...], tuple[HumanVote, ...]]:
    given = [keys for keys in _COMPLETION_KEYS if any(key in rest for key in keys)]
    if not given:
        return (), ()
    if len(given) > 1:
        keys = f"`{given[0][0]}` and `{given[1][0]}`"
        raise InvalidInput(f"the row has both {keys}", field=where, remedy="give its completions in one way")
    keys = given[0]
    missing = [key for key in keys if key not in rest]
    if missing:
        _wrong(where, missing[0], "is missing", f"{' and '.join(keys)} go together")
    texts = _list_of_texts(rest, where) if keys == ("completions",) else [_text(rest, key, where) for key in keys]
    models = _models(rest, where, len(texts))
    votes: tuple[HumanVote, ...] = ("a",) if keys[0] == "chosen" else ()
    if keys[0] == "response_a":
        votes = _votes(rest, where)
    written = zip(texts, models, strict=True)
    return tuple(Completion(text=text, model=model) for text, model in written), votes


def _models(rest: dict[str, Any], where: str, completions: int) -> list[str | None]:
    """Who wrote each completion, None where nobody says."""
    models = rest.pop("models", None)
    if models is None:
        return [None] * completions
    if not _is_list(models) or not all(isinstance(model, str) or model is None for model in models):
        _wrong(where, "models", "is not a list of names", 'write ["...", null]')
    if len(models) != completions:
        _wrong(where, "models", f"names {len(models)} for {completions} completions", "name who wrote each, or null")
    return models


def _votes(rest: dict[str, Any], where: str) -> tuple[HumanVote, ...]:
    if "label" in rest and "votes" in rest:
        raise InvalidInput("the row has both label and votes", field=where, remedy="give one of them")
    key = "label" if "label" in rest else "votes"
    votes = [rest.pop("label")] if key == "label" else rest.pop("votes", [])
    if not _is_list(votes) or any(vote not in ("a", "b", "tie") for vote in votes):
        _wrong(where, key, "is not a verdict", 'write "a", "b" or "tie" (votes: a list of them)')
    return tuple(votes)


def _list_of_texts(rest: dict[str, Any], where: str) -> list[str]:
    texts = rest.pop("completions")
    if not _is_list(texts) or not all(isinstance(text, str) for text in texts):
        _wrong(where, "completions", "is not a list of texts", 'write ["...", "..."]')
    return texts


def _text(rest: dict[str, Any], key: str, where: str) -> str:
    text = rest.pop(key)
    if not isinstance(text, str):
        _wrong(where, key, "is not text", "write it as text")
    return text


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(isinstance(key, str) for key in cast(dict[Any, Any], value))


def _is_finite(value: Any) -> bool:
    """Whether JSON can hold all numbers in it: Python reads NaN, Infinity and 1e999, and cannot write them again."""
    left: list[Any] = [value]
    while left:
        match left.pop():
            case float() as number if not math.isfinite(number):
                return False
            case dict() as inner:
                left.extend(cast(dict[str, Any], inner).values())
            case list() as inner:
                left.extend(cast(list[Any], inner))
            case _:
                continue
    return True


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _wrong(where: str, key: str, what: str, remedy: str) -> NoReturn:
    raise InvalidInput(f"`{key}` {what}", field=f"{where}: {key}", remedy=remedy)

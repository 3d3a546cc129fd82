"""Propositions read off a completion and its prompt without a judge: RE2 patterns and measures."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from constitution.document import MeasureProposition, Proposition
from constitution.expressions import NOT_APPLICABLE, Known
from constitution.reachability import COMPARISONS
from critic.rules.answers import is_correct
from critic.rules.instructions import checks
from critic.rules.languages import language, p_language
from critic.rules.measures import MEASURES
from solon.errors import InvalidInput
from solon.records import Prompt

Reader = Callable[[str, Prompt | None], Known]
"""From the text of a completion and its prompt to a proposition's value."""


def readers(propositions: Iterable[Proposition], patterns: Mapping[str, Any]) -> dict[str, Reader]:
    """A reader for each proposition that needs no judge, by id; `patterns` are compiled RE2."""
    found: dict[str, Reader] = {}
    for proposition in propositions:
        if proposition.kind == "regex":
            found[proposition.id] = _found(patterns[proposition.id])
        elif proposition.kind == "measure":
            found[proposition.id] = _compared(proposition, _measure(proposition, patterns))
    return found


def correct_answer(text: str, prompt: Prompt | None) -> Known:
    """Whether the completion comes to the answer in the prompt's `metadata.answer`."""
    expected = prompt.metadata.get("answer") if prompt is not None else None
    if expected is None:
        return NOT_APPLICABLE
    if isinstance(expected, bool) or not isinstance(expected, str | int | float):
        raise InvalidInput("is no text and no number", field=_place(prompt, "answer"), remedy="write the answer")
    return is_correct(text, str(expected))


def instructions_followed(text: str, prompt: Prompt | None) -> Known:
    """Share of the instructions in the prompt's `metadata.instruction_id_list` that the completion follows."""
    listed = checks(prompt.metadata, field=_place(prompt, "instruction_id_list")) if prompt is not None else ()
    return sum(holds(text) for holds in listed) / len(listed) if listed else NOT_APPLICABLE


def prompt_language(text: str, prompt: Prompt | None) -> Known:
    """Probability that the completion is in the language of the prompt's last turn, where both can be told."""
    code = language(prompt.text) if prompt is not None else None
    return p_language(text, code) if code is not None and language(text) is not None else NOT_APPLICABLE


_OF_THE_PROMPT: Mapping[str, Reader] = {
    "correct_answer": correct_answer,
    "instructions_followed": instructions_followed,
    "language": prompt_language,
}


def _place(prompt: Prompt | None, key: str) -> str:
    return f"row {prompt.id}: metadata.{key}" if prompt is not None else key


def _found(pattern: Any) -> Reader:
    return lambda text, _: pattern.search(text) is not None


def _measure(proposition: MeasureProposition, patterns: Mapping[str, Any]) -> Reader:
    code = proposition.language
    if code is not None:
        return lambda text, _: p_language(text, code)
    if proposition.measure in _OF_THE_PROMPT:
        return _OF_THE_PROMPT[proposition.measure]
    if proposition.pattern is not None:
        occurrences = patterns[proposition.id].finditer
        return lambda text, _: sum(1 for _ in occurrences(text))
    measure = MEASURES[proposition.measure]
    return lambda text, _: measure(text)


def _compared(proposition: MeasureProposition, read: Reader) -> Reader:
    if proposition.op is None or proposition.value is None:
        return read
    compare, value = COMPARISONS[proposition.op], proposition.value

    def holds(text: str, prompt: Prompt | None) -> Known:
        measured = read(text, prompt)
        return measured if isinstance(measured, str) else compare(measured, value)

    return holds

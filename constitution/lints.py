"""What is allowed in a constitution and unwise: warnings with the same places and remedies as errors.

wording that names "A" or "B"              the judge sees both orders, so a position means nothing
chat control tokens and frame markers      a judge could take them for the end of a turn
text beyond the judge's budget             it crowds out what is judged
a principle without a case                 nothing would notice a rewording that turns it around
near-identical principles                  the same thing is counted twice
one weight above half of all               the other principles decide nothing
rules and classes that can never hold, rules that always do, propositions and scopes without use
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Final

from constitution.composition import Parents
from constitution.document import Finding, check
from constitution.expressions import Condition
from constitution.logic import Logic
from constitution.problems import FieldPath, Problem
from constitution.reachability import Reach
from constitution.schema import Constitution, Principle

DEFAULT_BUDGET_TOKENS: Final = 512
"""What one text may take of the judge's prompt."""
_CHARACTERS_PER_TOKEN: Final = 4
"""Of English prose, roughly, for any tokenizer."""
_ALIKE_FROM: Final = 0.75
"""Share of content words that two principles have in common."""

_SHOWN: Final = {
    "comparison": ("prompt", "better", "worse"),
    "critique": ("prompt", "response", "critique", "revision"),
}
"""Texts of an example, by its kind."""
_POSITION = re.compile(
    r"\b(?:response|answer|option|completion|reply|candidate|assistant|output|text)s?\s+[\"'(\[]?[AB]\b"
    r"|\b[AB]\s+(?:or|and|over|versus|vs\.?|than)\s+[AB]\b|\b[AB]/[AB]\b|[(\[\"'][AB][)\]\"']"
    r"|\b(?:first|second|former|latter)\s+(?:response|answer|option|completion|reply|one)\b",
)
_CONTROL_TOKEN = re.compile(
    r"<[|\uff5c][^<>\n]{0,64}[|\uff5c]>|</?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn)>|<<?/?SYS>>?"
    r"|\[/?(?:INST|SYSTEM_PROMPT|RESPONSE|A|B)\]|^(?:Human|Assistant|User|System):",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\W\d_]+")
_COMMON = frozenset(
    _WORD.findall(
        "a an and any are as at be best better by choose do does for from good has have if in into is it its less "
        "likely more most must no not of on or other person please prefer principle response responses should so than "
        "that the their them they this to user what where which who with without would you your"
    )
)
"""Words that say little about what a principle is about."""


def lint(
    raw: bytes, *, parents: Parents | None = None, budget_tokens: int = DEFAULT_BUDGET_TOKENS
) -> tuple[Problem, ...]:
    """The errors in `raw`; without any, the warnings.

    Args:
        parents: see `constitution.document.check`.
        budget_tokens: what one text may take of the judge's prompt.
    """
    return check(raw, parents=parents, advise=partial(warnings, budget_tokens=budget_tokens))[1]


def warnings(constitution: Constitution, *, budget_tokens: int = DEFAULT_BUDGET_TOKENS) -> Iterator[Finding]:
    """Path, message and remedy of everything unwise."""
    yield from _wording(constitution)
    yield from _too_long(constitution, budget_tokens)
    yield from _without_case(constitution)
    yield from _vain_cases(constitution)
    yield from _alike(constitution)
    yield from _overweight(constitution)
    yield from _unused(constitution)
    yield from _decided(constitution)


Prose = tuple[FieldPath, str]


def _prose(constitution: Constitution) -> Iterator[Prose]:
    """Every text that a model is shown, with its path; cases and descriptions are for people."""
    for index, principle in enumerate(constitution.principles):
        for name in ("text", "compare", "critique", "revise"):
            yield from _given(("principles", index, name), getattr(principle, name))
    for index, example in enumerate(constitution.few_shot):
        for name in _SHOWN[example.kind]:
            yield ("few_shot", index, name), getattr(example, name)
    for index, proposition in enumerate(constitution.propositions):
        if proposition.kind == "judge":
            yield ("propositions", index, "question"), proposition.question


def _given(path: FieldPath, text: str | None) -> Iterator[Prose]:
    if text is not None:
        yield path, text


def _wording(constitution: Constitution) -> Iterator[Finding]:
    for path, text in _prose(constitution):
        position = _POSITION.search(text)
        if position is not None and path[0] == "principles":
            yield path, f"names a position: {position[0]!r}", "say it of either response; the judge sees both orders"
        token = _CONTROL_TOKEN.search(text)
        if token is not None:
            yield path, f"holds the chat control token {token[0]!r}", "write it in words"


def _too_long(constitution: Constitution, budget_tokens: int) -> Iterator[Finding]:
    for path, text in _prose(constitution):
        tokens = len(text) // _CHARACTERS_PER_TOKEN
        if tokens > budget_tokens:
            yield path, f"about {tokens} tokens, beyond the judge's budget of {budget_tokens}", "shorten or split it"


def _without_case(constitution: Constitution) -> Iterator[Finding]:
    tested = {name for case in constitution.cases for name in case.because}
    for index, principle in enumerate(constitution.principles):
        if principle.id not in tested:
            hint = f"write one with `because: [{principle.id}]`"
            yield ("principles", index), f"the principle {principle.id!r} has no case", hint


def _vain_cases(constitution: Constitution) -> Iterator[Finding]:
    for index, case in enumerate(constitution.cases):
        if case.better == case.worse:
            yield ("cases", index, "worse"), "the same text as `better`", "write two that differ"


def _alike(constitution: Constitution) -> Iterator[Finding]:
    words = [_content_words(principle) for principle in constitution.principles]
    for one, other in combinations(range(len(words)), 2):
        shared = len(words[one] & words[other]) / len(words[one] | words[other] or {""})
        if shared >= _ALIKE_FROM:
            first = constitution.principles[one].id
            yield ("principles", other, "text"), f"nearly the same as the principle {first!r}", "make them one"


def _content_words(principle: Principle) -> frozenset[str]:
    """The words of text and question that are about something, plural taken for singular."""
    text = f"{principle.text} {principle.compare or ''}".lower()
    return frozenset(word.removesuffix("s") for word in _WORD.findall(text) if word not in _COMMON)


def _overweight(constitution: Constitution) -> Iterator[Finding]:
    for index, principle in enumerate(constitution.principles):
        for scope in constitution.scopes:
            applying = constitution.principles_for(scope)
            total = sum(each.weight for each in applying)
            if principle in applying and len(applying) > 1 and principle.weight * 2 > total:
                share = principle.weight / total
                yield (
                    ("principles", index, "weight"),
                    f"{share:.0%} of all weight in {scope}",
                    "above half, it decides alone",
                )
                break


def _unused(constitution: Constitution) -> Iterator[Finding]:
    """Propositions that no rule or class depends on, scopes in which nothing applies."""
    logic = Logic(constitution)
    used = logic.propositions.behind(name for _, part in (*logic.rules, *logic.classes) for name in part.names)
    for index, proposition in enumerate(constitution.propositions):
        if proposition.id not in used:
            yield ("propositions", index), f"no rule or class uses {proposition.id!r}", "use it or remove it"
    for scope in constitution.scopes:
        if not constitution.principles_for(scope) and not constitution.rules_for(scope):
            yield ("scopes", scope), f"nothing applies in the scope {scope!r}", "its prompts cannot be labelled"


def _decided(constitution: Constitution) -> Iterator[Finding]:
    """Rules and classes whose condition can come to one value only."""
    logic = Logic(constitution)
    outcomes: Callable[[Condition], frozenset[bool]] = Reach(constitution, logic.propositions).outcomes
    for kind, parts in (("rules", logic.rules), ("classes", logic.classes)):
        for index, (part, condition) in enumerate(parts):
            possible = outcomes(condition)
            if True not in possible:
                yield (kind, index, "when"), f"{part.id!r} can never hold", "correct the condition, or remove it"
            elif kind == "rules" and False not in possible:
                yield (kind, index, "when"), f"{part.id!r} always holds and changes nothing", "name what it depends on"

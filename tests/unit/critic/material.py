"""Prompts, completions and constitutions that the critic's tests share."""

from collections.abc import AsyncIterable, Sequence
from typing import Any

from constitution.document import Constitution, Principle, parse
from solon.records import Comparison, Completion, Discard, Message, PreferencePair, Prompt
from solon.rows import Row

KIND = Principle(id="kindness", text="Be kind.")
BRIEF = Principle(id="brevity", text="Be brief.")
SAFE = Principle(id="no-harm", text="Do no harm.", weight=2.0, veto=True)


def prompt(name: str = "p1", text: str = "How do I bake bread?") -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content=text),))


def comparison(a: str = "A kind answer.", b: str = "A rude answer.", name: str = "p1") -> Comparison:
    return Comparison(prompt=prompt(name), a=Completion(text=a), b=Completion(text=b))


def row(*completions: str, name: str = "p1", votes: Sequence[Any] = (), text: str = "How do I bake bread?") -> Row:
    given = tuple(Completion(text=each) for each in completions)
    return Row(prompt=prompt(name, text), completions=given, human_votes=tuple(votes))


def constitution(*principles: Principle, more: str = "") -> Constitution:
    """A constitution of the given principles, and of `more` in YAML."""
    head = "format: constitution/v1\nid: test\ntitle: Test\nversion: 1.0.0\n"
    listed = "".join(
        f"  - {{id: {each.id}, text: {each.text}, weight: {each.weight}, veto: {str(each.veto).lower()}}}\n"
        for each in principles
    )
    return parse((head + ("principles:\n" + listed if listed else "") + more).encode(), "test.yaml")


async def collected(items: AsyncIterable[PreferencePair | Discard]) -> list[PreferencePair | Discard]:
    return [item async for item in items]


def pairs(items: Sequence[PreferencePair | Discard]) -> list[PreferencePair]:
    return [item for item in items if isinstance(item, PreferencePair)]


def discards(items: Sequence[PreferencePair | Discard]) -> list[Discard]:
    return [item for item in items if isinstance(item, Discard)]

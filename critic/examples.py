"""The constitution's examples as turns of the conversation before a request: what was asked, and the right answer.

They come before everything that varies, so all requests share them in the server's cache. Comparisons are shown with
the better completion first and second in turn, so that examples teach no slot.
"""

from typing import Final

from constitution.document import Constitution, Principle
from constitution.schema import ComparisonExample, CritiqueExample
from critic.judges.logprobs import LABELS, pair_messages
from critic.rewriting import Shots, critique_messages, revision_messages
from solon.records import Comparison, Completion, Message, Prompt

_GENERAL: Final = Principle(id="general", text="A good response helps the person who asks and harms nobody.")
"""Shown with examples that are written under no principle in particular."""


def comparison_shots(
    constitution: Constitution, labels: tuple[str, str] = LABELS, *, fences: bool = False
) -> tuple[Message, ...]:
    """Requests and answers of the solved comparisons, for judges that answer with one label."""
    shots: list[Message] = []
    solved = [example for example in constitution.few_shot if isinstance(example, ComparisonExample)]
    for index, example in enumerate(solved):
        better, worse = Completion(text=example.better), Completion(text=example.worse)
        first, second = (better, worse) if index % 2 == 0 else (worse, better)
        listed = Comparison(prompt=_prompt(example.id, example.prompt), a=first, b=second)
        asked = pair_messages(listed, _principle(constitution, example.principle), labels, fences=fences)[1]
        shots += [asked, Message(role="assistant", content=labels[index % 2])]
    return tuple(shots)


def critique_shots(constitution: Constitution) -> Shots:
    """Requests and answers of the solved critiques, and of their revisions."""
    critiques, revisions = list[Message](), list[Message]()
    for example in constitution.few_shot:
        if isinstance(example, CritiqueExample):
            prompt, principle = _prompt(example.id, example.prompt), _principle(constitution, example.principle)
            critiqued = critique_messages(prompt, example.response, principle)[-1]
            revised = revision_messages(prompt, example.response, principle, example.critique)[-1]
            critiques += [critiqued, Message(role="assistant", content=example.critique)]
            revisions += [revised, Message(role="assistant", content=example.revision)]
    return Shots(tuple(critiques), tuple(revisions))


def _prompt(example_id: str, text: str) -> Prompt:
    return Prompt(id=example_id, messages=(Message(role="user", content=text),))


def _principle(constitution: Constitution, name: str | None) -> Principle:
    return next((each for each in constitution.principles if each.id == name), _GENERAL)

"""Candidate principles, written by a model that is shown labelled pairs and asked what explains the choice.

Source: Findeis et al. 2024, "Inverse Constitutional AI", arXiv:2406.06560; the candidates are voted on in `drift`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from constitution.consensus import alike
from critic.concurrency import together
from critic.markers import neutralise
from solon.chat import ChatModel, PromptTooLong, RequestFailed, RequestTimedOut
from solon.records import Message, PreferencePair
from solon.seeds import counter_seed
from solon.templates import conversation, render

PER_PAIR: Final = 3
_SHORTEST, _LONGEST = 12, 300
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.):])\s+")
_NAMES_A_SLOT = re.compile(
    r"\b(?:[Rr]esponse|[Cc]ompletion|[Aa]nswer|[Rr]eply|[Oo]ption) [AB]\b|\bB\b|\bA (?:is|was|has|does)\b"
)


@dataclass(frozen=True)
class Proposals:
    """Candidates, most often proposed first, and the pairs on which the model failed."""

    texts: tuple[str, ...]
    failed: int


async def propose(model: ChatModel, pairs: Sequence[PreferencePair], *, seed: int = 0, most: int = 20) -> Proposals:
    """What the model says explains the labels, each thought once.

    Args:
        pairs: with a chosen side.
        most: candidates to keep; those proposed most often.
    """
    replies = await together(_ask(model, pair, seed) for pair in pairs)
    lines = [line for reply in replies if reply is not None for line in principles_in(reply)]
    return Proposals(tuple(merged(lines)[:most]), sum(reply is None for reply in replies))


async def _ask(model: ChatModel, pair: PreferencePair, seed: int) -> str | None:
    """The model's reply; None where the request failed."""
    try:
        reply = await model.complete(
            proposal_messages(pair), max_tokens=60 * PER_PAIR, temperature=0.7, seed=counter_seed(seed, pair.id, 0)
        )
    except (PromptTooLong, RequestTimedOut, RequestFailed):
        return None
    return reply.choices[0].text


def proposal_messages(pair: PreferencePair) -> tuple[Message, Message]:
    """The exact prompt for one pair."""
    turns = [Message(role=turn.role, content=neutralise(turn.content)) for turn in pair.prompt.messages]
    return render(
        "propose",
        conversation=conversation(turns),
        a=neutralise(pair.a.text),
        b=neutralise(pair.b.text),
        preferred=(pair.chosen or "").upper(),
        count=str(PER_PAIR),
    )


def principles_in(reply: str) -> list[str]:
    """The lines of a reply that can be principles: no bullets, no headings, nothing about one of the two slots."""
    lines = (" ".join(_BULLET.sub("", line).split()).strip("*\"' ") for line in reply.splitlines())
    kept = [
        line
        for line in lines
        if _SHORTEST <= len(line) <= _LONGEST and not line.endswith(":") and not _NAMES_A_SLOT.search(line)
    ]
    return kept[:PER_PAIR]


def merged(lines: Iterable[str]) -> list[str]:
    """Each thought once, in its first wording, those with most wordings first."""
    found: list[list[str]] = []
    for line in lines:
        same = next((group for group in found if alike(group[0], line)), None)
        if same is None:
            found.append([line])
        else:
            same.append(line)
    return [group[0] for group in sorted(found, key=lambda group: -len(group))]

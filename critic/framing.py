"""Text as it stands in the critic's prompts: conversations and completions neutralised, questions in one line, fences.

A fence is a suffix of the frames' names, [A 3f9c2a] ... [/A 3f9c2a]. It is derived from what is framed, so it is the
same for every principle, both orders, a replay and whoever renders the prompt again; and it occurs in none of the
framed texts, so nobody can have written it into one. See docs/decisions/0024-fences.md.
"""

import hashlib
import json
from functools import lru_cache
from itertools import count
from typing import Final

from critic.markers import LABELS, neutralise
from solon.records import Completion, Message, Prompt
from solon.templates import conversation

_DIGITS: Final = 6
DEFAULT_QUESTION: Final = "Which response follows the principle better?"


@lru_cache(maxsize=256)  # asked again for every principle and order
def dialogue(messages: tuple[Message, ...], labels: tuple[str, ...] = LABELS) -> str:
    """The conversation as lines, with nothing in it that could close a frame of ours."""
    return conversation(
        [Message(role=message.role, content=neutralise(message.content, labels=labels)) for message in messages]
    )


@lru_cache(maxsize=256)
def framed(text: str, labels: tuple[str, ...] = LABELS) -> str:
    """A completion as it stands between [label] and [/label]: it can close neither frame."""
    return neutralise(text, labels=labels)


def fence_of(prompt: Prompt, *completions: Completion) -> str:
    """Six hex digits that none of the texts holds; the same in whichever order the completions are listed."""
    return _fence(prompt.messages, tuple(sorted(each.text for each in completions)))


@lru_cache(maxsize=1024)  # asked again for every principle and order
def _fence(messages: tuple[Message, ...], completions: tuple[str, ...]) -> str:
    read = [each.lower() for each in (*(message.content for message in messages), *completions)]
    framed = json.dumps([[[message.role, message.content] for message in messages], completions])
    digests = (hashlib.sha256(f"{framed}{number}".encode()).hexdigest() for number in count())
    return next(fence for digest in digests if not any((fence := digest[:_DIGITS]) in each for each in read))


@lru_cache(maxsize=1024)  # of principles and questions, for every comparison
def one_line(text: str) -> str:
    """`text` with every run of white space as one space, so that wrapping it differently changes nothing."""
    return " ".join(text.split())

"""Text as it stands in the critic's prompts: conversations and completions neutralised, questions in one line."""

from functools import lru_cache
from typing import Final

from critic.markers import LABELS, neutralise
from solon.records import Message
from solon.templates import conversation

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


@lru_cache(maxsize=1024)  # of principles and questions, for every comparison
def one_line(text: str) -> str:
    """`text` with every run of white space as one space, so that wrapping it differently changes nothing."""
    return " ".join(text.split())

"""Text as it stands in the critic's prompts: conversations and completions neutralised, questions in one line."""

from functools import lru_cache

from critic.markers import neutralise
from solon.records import Message
from solon.templates import conversation


@lru_cache(maxsize=256)  # asked again for every principle and order
def dialogue(messages: tuple[Message, ...]) -> str:
    """The conversation as lines, with nothing in it that could close a frame of ours."""
    return conversation([Message(role=message.role, content=neutralise(message.content)) for message in messages])


def one_line(text: str) -> str:
    """`text` with every run of white space as one space, so that wrapping it differently changes nothing."""
    return " ".join(text.split())

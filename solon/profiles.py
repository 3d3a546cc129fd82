"""Value profiles: what somebody wishes a policy to weigh how much, as factors and in the words that a policy reads.

    {"tag:tone": 4.0, "concise": 0.0}  ->  "Weigh concise 0, tone 4."

The factors are those of `constitution.weighting`. One policy that was trained under several profiles, each named in a
system message, follows the one that it is given.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from solon.chat import ChatModel, ChatReply
from solon.records import Message

Profile = Mapping[str, float]
"""Factor by principle id or `tag:NAME`; a principle that is not named keeps its weight."""

_TAG: Final = "tag:"


def profile_text(profile: Profile) -> str:
    """The profile in words, the same for the same factors in whatever order; empty for no factors.

    Short on purpose, since it is read before every conversation.
    """
    named = sorted((key.removeprefix(_TAG), factor) for key, factor in profile.items())
    return f"Weigh {', '.join(f'{name} {factor:g}' for name, factor in named)}." if named else ""


def under_profile(messages: Sequence[Message], profile: Profile) -> tuple[Message, ...]:
    """The conversation with the profile in its system message, after what stands there already."""
    text = profile_text(profile)
    if not text:
        return tuple(messages)
    if messages and messages[0].role == "system":
        first = messages[0].model_copy(update={"content": f"{messages[0].content}\n{text}"})
        return (first, *messages[1:])
    return (Message(role="system", content=text), *messages)


class Profiled:
    """A `ChatModel` whose conversations all begin with a profile."""

    def __init__(self, model: ChatModel, profile: Profile) -> None:
        self.name = model.name
        self.model = model.model
        self._model = model
        self._profile = profile

    async def complete(self, messages: Sequence[Message], **request: Any) -> ChatReply:
        """See `ChatModel.complete`."""
        return await self._model.complete(under_profile(messages, self._profile), **request)

"""Models that give a conversation a reward: the protocol, what comes back, and how it is read from a reply.

vLLM serves them at `/classify`. Its default activation turns the one logit of a reward model into a probability, which
loses the difference between good and very good; requests say `use_activation: false`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, Field, ValidationError

from solon.records import Message


@dataclass(frozen=True, slots=True)
class ScoreReply:
    """The reward of one conversation."""

    reward: float
    """Unbounded; a difference is a log-odds where the model was trained by Bradley-Terry."""
    prompt_tokens: int = 0


@runtime_checkable
class RewardModel(Protocol):
    """Anything that scores conversations."""

    @property
    def name(self) -> str:
        """The registered name."""
        ...

    async def score(self, messages: Sequence[Message]) -> ScoreReply:
        """The reward of the last turn; raises as `ChatModel.complete` does."""
        ...


class _Item(BaseModel):
    probs: list[float] = Field(min_length=1, max_length=1)


class _UsageCount(BaseModel):
    prompt_tokens: int = 0


class _Body(BaseModel):
    data: list[_Item] = Field(min_length=1, max_length=1)
    usage: _UsageCount | None = None


def read_score(body: bytes) -> ScoreReply:
    """The reward in a reply of `/classify`; ValueError names what is missing, or a head with several outputs."""
    try:
        reply = _Body.model_validate_json(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the body"
        raise ValueError(f"no single reward in {where}") from error
    return ScoreReply(reply.data[0].probs[0], (reply.usage or _UsageCount()).prompt_tokens)

"""What an OpenAI-compatible server sends back: the records we make of it, and how they are read.

Unknown fields of a reply are ignored; a missing one that we need makes the reply unreadable, never a default verdict.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError

_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One candidate for the first generated token; natural logarithm, of the untempered distribution."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True)
class ChatChoice:
    """One generated text."""

    text: str
    finish_reason: str
    """`stop`, `length` or `content_filter` (the server or the model declined)."""
    first_token: tuple[TokenLogprob, ...] = ()
    """The most probable first tokens, as many as `top_logprobs` asked for; empty if none were asked for."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What one request brought back; token counts are 0 where the server reports none."""

    choices: tuple[ChatChoice, ...]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt's, those that the server found in its prefix cache."""


class _TopLogprob(BaseModel):
    token: str
    logprob: float


class _TokenLogprobs(BaseModel):
    top_logprobs: list[_TopLogprob] = []


class _Logprobs(BaseModel):
    content: list[_TokenLogprobs] | None = None


class _ReplyMessage(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    index: int = 0
    message: _ReplyMessage
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _PromptDetails(BaseModel):
    cached_tokens: int | None = None


class _UsageCount(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None


class _Body(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _UsageCount | None = None


def read_reply(body: bytes) -> ChatReply:
    """The reply in a chat-completion body; ValueError names the first field that is missing or wrong."""
    try:
        reply = _Body.model_validate_json(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the body"
        raise ValueError(where) from error
    usage = reply.usage or _UsageCount()
    choices = tuple(_choice(choice) for choice in sorted(reply.choices, key=lambda choice: choice.index))
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else None
    return ChatReply(choices, usage.prompt_tokens, usage.completion_tokens, cached or 0)


def _choice(choice: _Choice) -> ChatChoice:
    positions = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
    top = positions[0].top_logprobs if positions else []
    return ChatChoice(
        text=choice.message.content or "",
        finish_reason="content_filter" if choice.message.refusal else choice.finish_reason or "stop",
        first_token=tuple(TokenLogprob(entry.token, entry.logprob) for entry in top),
    )


def explanation(body: bytes) -> str:
    """The server's own words in an error body, one line; "no explanation" without any."""
    try:
        value = _JSON.validate_json(body)
    except ValidationError:
        value = body.decode("utf-8", errors="replace")
    if isinstance(value, dict):
        value = value.get("error", value)
    if isinstance(value, dict):
        value = value.get("message") or value.get("detail")
    return " ".join(str(value or "no explanation").split())


def retry_after_s(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds a Retry-After header asks for (RFC 9110: seconds or a date), None without a readable one."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header):
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())

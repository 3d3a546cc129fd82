"""The request bodies that the local server takes: OpenAI's, as far as they are honoured.

A field that is not here is refused by name. Nothing is accepted and ignored.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CHOICES = 128
MOST_LOGPROBS = 20

Logprob = Annotated[int, Field(ge=0, le=MOST_LOGPROBS)]
TokenId = Annotated[str, Field(pattern=r"^\d{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Body(BaseModel):
    """Strict about types and unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class StructuredOutputs(Body):
    """A constraint on the completion, in vLLM's form."""

    choice: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1, max_length=1024)
    """The completion is one of these texts."""


class SamplingFields(Body):
    """What chat and plain completions share."""

    model: str
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None
    """Same seed, same request: same texts. Choice i of n has its own stream."""
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    logit_bias: dict[TokenId, Bias] | None = None
    structured_outputs: StructuredOutputs | None = None
    stream: Literal[False] | None = None
    """Only false: nothing is streamed."""

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a completion."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def bias(self) -> dict[int, float]:
        """Logit bias by token."""
        return {int(token): value for token, value in (self.logit_bias or {}).items()}

    @model_validator(mode="after")
    def _stops_are_texts(self) -> "SamplingFields":
        if "" in self.stops:
            raise ValueError("`stop` must not hold an empty text")
        return self


class ChatMessage(Body):
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatCompletionRequest(SamplingFields):
    """POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    """None: as many as the context leaves."""
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """OpenAI's newer name for `max_tokens`."""
    logprobs: bool = False
    top_logprobs: Logprob | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> "ChatCompletionRequest":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("`max_tokens` and `max_completion_tokens` exclude each other")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs: true`")
        return self


class CompletionRequest(SamplingFields):
    """POST /v1/completions."""

    prompt: str | TokenIds | Annotated[list[str], Field(min_length=1)] | Annotated[list[TokenIds], Field(min_length=1)]
    max_tokens: int = Field(default=16, ge=0)
    """0 only with `echo`: the prompt is scored and nothing is written."""
    logprobs: Logprob | None = None
    echo: bool = False
    """The prompt comes first in text and log-probabilities."""

    @model_validator(mode="after")
    def _something_is_wanted(self) -> "CompletionRequest":
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("`max_tokens` 0 needs `echo: true`")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, as text or tokens."""
        prompt = self.prompt
        if isinstance(prompt, str) or isinstance(prompt[0], int):
            return [prompt]  # pyright: ignore[reportReturnType] - a list that begins with an int holds only ints
        return list(prompt)  # pyright: ignore[reportReturnType]

"""The one way to talk to a model: the `ChatModel` protocol and the client for OpenAI-compatible servers.

Its failures are those of `solon.endpoint`, where retries live.
"""

import copy
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2

from solon.breaker import Notice
from solon.endpoint import Endpoint, PromptTooLong, RequestFailed, RequestRejected, RequestTimedOut, RetryPolicy
from solon.exchanges import Observer, watching
from solon.records import Message
from solon.replies import ChatChoice, ChatReply, TokenLogprob, read_reply
from solon.scoring import ScoreReply, read_score

__all__ = [
    "ChatChoice",
    "ChatModel",
    "ChatReply",
    "OpenAIChat",
    "PromptTooLong",
    "RequestFailed",
    "RequestRejected",
    "RequestTimedOut",
    "RetryPolicy",
    "TokenLogprob",
]


class ChatModel(Protocol):
    """Anything that answers chat requests: a server, or a fake of `solon.fakes`."""

    @property
    def name(self) -> str:
        """The registered name, as users know it."""
        ...

    @property
    def model(self) -> str:
        """The name under which the server knows it."""
        ...

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        top_logprobs: int = 0,
        json_schema: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """`n` texts of at most `max_tokens` tokens; with `json_schema`, JSON that it allows.

        Raises:
            ModelUnavailable: no request can succeed now; stop the job.
            PromptTooLong, RequestTimedOut, RequestFailed: this request failed, others may succeed.
        """
        ...


class OpenAIChat:
    """A `ChatModel` and `RewardModel` behind an OpenAI-compatible server. Use as `async with OpenAIChat(...) as chat`.

    Proxy variables of the environment are ignored and redirects are not followed: prompts go where the registry says.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        model: str,
        api_key: str | None = None,
        max_concurrency: int = 64,
        timeout_s: float = 60.0,
        *,
        retry: RetryPolicy | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        notice: Notice | None = None,
        takes_salt: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """Args:
        endpoint: base URL including the version, such as http://judge:8000/v1.
        max_concurrency: requests in flight at most, those waiting for a retry included (so an overloaded server
            meets fewer requests, not more).
        timeout_s: longest silence while waiting for one answer; connecting has its own limit of 5 s.
        notice: told when the server goes away and when it is back.
        takes_salt: whether the server knows vLLM's `cache_salt`.
        observer: sees each request; None: whoever watches this process (`solon.exchanges`).
        """
        self._takes_salt = takes_salt
        self._salt: str | None = None
        self.name = name
        self.model = model
        self._observer = observer or watching()
        self._endpoint = Endpoint(
            name, endpoint, api_key, max_concurrency, timeout_s, retry or RetryPolicy(), transport, notice
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._endpoint.aclose()

    def salted(self, salt: str) -> "OpenAIChat":
        """The same model over the same connections, whose requests share no cached prefix with those of other salts.

        A server that takes no salt keeps no such cache that we know of, and is asked as before.
        """
        other = copy.copy(self)
        other._salt = salt if self._takes_salt else None
        return other

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        top_logprobs: int = 0,
        json_schema: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """See `ChatModel.complete`."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": _turns(messages),
            "max_tokens": max_tokens,
            "n": n,
            "temperature": temperature,
            "top_p": top_p,
        }
        if self._salt is not None:
            body["cache_salt"] = self._salt
        if seed is not None:
            body["seed"] = seed
        if stop:
            body["stop"] = list(stop)
        if top_logprobs:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        if json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return await self._chat(body)

    async def choose(self, messages: Sequence[Message], choices: Sequence[str], *, max_tokens: int = 1) -> str:
        """What the server writes when told to write one of the choices; anything else shows that it ignores that.

        vLLM's `structured_outputs`, which our own server takes as well. A server that does not know the field refuses
        it or, as vLLM does with the names that the field used to have, ignores it.
        """
        body = {
            "model": self.model,
            "messages": _turns(messages),
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "structured_outputs": {"choice": list(choices)},
        }
        return (await self._chat(body)).choices[0].text

    async def _chat(self, body: dict[str, Any]) -> ChatReply:
        with self._observer.exchange(self.name, "chat") as exchange:
            answer = await self._endpoint.post(self._endpoint.below("chat/completions"), body, exchange)
            try:
                reply = read_reply(answer)
            except ValueError as error:
                raise RequestFailed(f"model {self.name!r}: the reply is no chat completion: {error}") from error
            exchange.answered(reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)
            return reply

    async def score(self, messages: Sequence[Message]) -> ScoreReply:
        """See `RewardModel.score`; asks vLLM's `/classify`, which stands beside /v1."""
        body: dict[str, Any] = {"model": self.model, "messages": _turns(messages), "use_activation": False}
        if self._salt is not None:
            body["cache_salt"] = self._salt
        with self._observer.exchange(self.name, "score") as exchange:
            answer = await self._endpoint.post(self._endpoint.beside("/classify"), body, exchange)
            try:
                reply = read_score(answer)
            except ValueError as error:
                raise RequestFailed(f"model {self.name!r}: the reply is no reward: {error}") from error
            exchange.answered(reply.prompt_tokens, 0)
            return reply


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]

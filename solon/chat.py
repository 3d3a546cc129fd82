"""The one way to talk to a model: the `ChatModel` protocol and the client for OpenAI-compatible servers.

Retries live here and nowhere else. A caller sees one of four failures: the endpoint is gone (`ModelUnavailable`, which
ends the job), or this one request failed (`PromptTooLong`, `RequestTimedOut`, `RequestFailed`, which end one work
item). No message here names an endpoint or a key.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

import httpx2
import stamina

from solon.errors import Failed, InvalidInput, ModelUnavailable
from solon.lanes import Lanes
from solon.records import Message
from solon.replies import ChatChoice, ChatReply, TokenLogprob, explanation, read_reply, retry_after_s

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

# A retry is this client's business: without a handler, logging's last resort would print each one to the terminal.
logging.getLogger("stamina").addHandler(logging.NullHandler())

_CONNECT_TIMEOUT_S = 5.0
_RETRIED = frozenset({408, 409, 429, *range(500, 600)})
_GONE = frozenset({429, 502, 503})  # still so after the retries: the server as a whole is not answering
_REFUSES_US = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})  # the same answer awaits every request
_TOO_LONG = re.compile(
    r"context_length_exceeded|context (?:length|window)|maximum model length|max_model_len|prompt is too long|"
    r"maximum (?:input|prompt|sequence) length|maximum number of (?:input )?tokens",
    re.IGNORECASE,
)


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
    ) -> ChatReply:
        """`n` texts of at most `max_tokens` tokens.

        Raises:
            ModelUnavailable: no request can succeed now; stop the job.
            PromptTooLong, RequestTimedOut, RequestFailed: this request failed, others may succeed.
        """
        ...


class RequestRejected(Failed):
    """One request failed, while the model may well answer others."""


class PromptTooLong(RequestRejected):
    """The prompt and `max_tokens` do not fit the model's context; nothing was cut."""

    http_status = 422


class RequestTimedOut(RequestRejected):
    """No answer in time, after retries."""

    http_status = 504


class RequestFailed(RequestRejected):
    """The server answered this request with an error or with something that is no chat completion."""

    http_status = 502


@dataclass(frozen=True)
class RetryPolicy:
    """When to give up on a request."""

    budget_s: float = 10.0
    """No attempt starts later than this many seconds after the first one began, so a dead endpoint fails in about so
    long. A job that runs for hours wants minutes."""
    first_wait_s: float = 0.25
    max_wait_s: float = 5.0
    """Longest wait between two attempts, doubling up to here; a server's Retry-After may ask for more."""


class OpenAIChat:
    """A `ChatModel` behind an OpenAI-compatible server. Use as `async with OpenAIChat(...) as chat`.

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
    ) -> None:
        """Args:
        endpoint: base URL including the version, such as http://judge:8000/v1.
        max_concurrency: requests in flight at most, those waiting for a retry included (so an overloaded server
            meets fewer requests, not more).
        timeout_s: longest silence while waiting for one answer; connecting has its own limit of 5 s.
        """
        self.name = name
        self.model = model
        self._retry = retry or RetryPolicy()
        self._slots = asyncio.Semaphore(max_concurrency)
        self._secrets = tuple(secret for secret in (endpoint, api_key) if secret)
        try:
            base_url = httpx2.URL(endpoint.rstrip("/") + "/")
        except httpx2.InvalidURL as error:
            raise InvalidInput(
                "not a URL", field=f"models.{name}.endpoint", remedy="write it like http://host:8000/v1"
            ) from error
        self._http = httpx2.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx2.Timeout(connect=_CONNECT_TIMEOUT_S, read=timeout_s, write=timeout_s, pool=None),
            follow_redirects=False,
            trust_env=False,
            transport=transport or Lanes(tls=base_url.scheme == "https"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

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
    ) -> ChatReply:
        """See `ChatModel.complete`."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_tokens,
            "n": n,
            "temperature": temperature,
            "top_p": top_p,
        }
        if seed is not None:
            body["seed"] = seed
        if stop:
            body["stop"] = list(stop)
        if top_logprobs:
            body |= {"logprobs": True, "top_logprobs": top_logprobs}
        async with self._slots:
            return self._parse(await self._post("chat/completions", body))

    async def _post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        started = time.monotonic()
        attempts = 0
        try:
            async for attempt in stamina.retry_context(
                on=self._backoff(started),
                attempts=None,
                timeout=self._retry.budget_s,
                wait_initial=self._retry.first_wait_s,
                wait_max=self._retry.max_wait_s,
                wait_jitter=self._retry.first_wait_s,
            ):
                with attempt:
                    attempts = attempt.num
                    response = await self._http.post(path, json=body)
                    return response.raise_for_status()
        except httpx2.HTTPError as error:
            times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            self._give_up(error, f"after {times} in {time.monotonic() - started:.1f} s")
        raise AssertionError("retry_context ends by returning or raising")

    def _backoff(self, started: float) -> Callable[[Exception], bool | float]:
        """Whether to retry after an error, or after how many seconds when the server said so."""

        def decide(error: Exception) -> bool | float:
            if isinstance(error, httpx2.HTTPStatusError):
                if error.response.status_code not in _RETRIED:
                    return False
                asked_s = retry_after_s(error.response.headers.get("Retry-After"))
                if asked_s is None:
                    return True
                return asked_s if time.monotonic() + asked_s < started + self._retry.budget_s else False
            return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)

        return decide

    def _give_up(self, error: httpx2.HTTPError, effort: str) -> NoReturn:
        who = f"model {self.name!r}"
        if isinstance(error, httpx2.HTTPStatusError):
            self._raise_for_answer(error.response, who, effort)
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.UnsupportedProtocol):
            raise ModelUnavailable(
                f"{who} cannot be reached: no connection {effort}",
                remedy=f"start its server, or correct the endpoint of models.{self.name} in the settings",
            ) from error
        if isinstance(error, httpx2.TimeoutException):
            raise RequestTimedOut(
                f"{who} did not answer {effort}", remedy=f"raise models.{self.name}.timeout_s or send fewer at once"
            ) from error
        raise RequestFailed(f"{who} broke the connection {effort} ({type(error).__name__})") from error

    def _raise_for_answer(self, response: httpx2.Response, who: str, effort: str) -> NoReturn:
        code, said = response.status_code, self._said(response)
        if code == 413 or (code in {400, 422} and _TOO_LONG.search(said)):
            raise PromptTooLong(f"{who}: the prompt does not fit its context: {said}")
        if code in _REFUSES_US:
            remedy = (
                f"check models.{self.name}.api_key_env in the settings"
                if code in {401, 403}
                else f"check endpoint (it ends in /v1) and model of models.{self.name} in the settings"
            )
            raise ModelUnavailable(f"{who}: the server refuses every request with HTTP {code}: {said}", remedy=remedy)
        if code in _GONE:
            raise ModelUnavailable(
                f"{who} is overloaded or down: HTTP {code} {effort}: {said}",
                remedy=f"try again later, or lower models.{self.name}.max_concurrency",
            )
        if code in {408, 504}:
            raise RequestTimedOut(f"{who} did not answer {effort}: HTTP {code}")
        raise RequestFailed(f"{who} answered HTTP {code} {effort}: {said}")

    def _said(self, response: httpx2.Response) -> str:
        """The server's own words, at most 200 characters, without our endpoint and key."""
        line = explanation(response.content)
        for secret in self._secrets:
            line = line.replace(secret, "...")
        return line[:200]

    def _parse(self, response: httpx2.Response) -> ChatReply:
        try:
            return read_reply(response.content)
        except ValueError as error:
            raise RequestFailed(f"model {self.name!r}: the reply is no chat completion: {error}") from error

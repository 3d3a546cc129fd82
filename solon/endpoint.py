"""One server as the clients see it: requests with retries, outages waited for by one request on behalf of all.

Retries live here and nowhere else. A caller sees one of four failures: the endpoint is gone (`ModelUnavailable`, which
ends the job), or this one request failed (`PromptTooLong`, `RequestTimedOut`, `RequestFailed`, which end one work
item). No message here names an endpoint or a key.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import httpx2
import stamina

from solon import __version__
from solon.breaker import Breaker, Notice
from solon.errors import Failed, InvalidInput, ModelUnavailable
from solon.exchanges import UNSEEN, Exchange
from solon.lanes import Lanes
from solon.replies import explanation, retry_after_s

# A retry is this client's and its observer's business: stamina's own hooks would print each one, on standard output.
stamina.instrumentation.set_on_retry_hooks([])

_CONNECT_TIMEOUT_S = 5.0
_RETRIED = frozenset({408, 409, 429, *range(500, 600)})
_GONE = frozenset({429, 502, 503})  # still so after the retries: the server as a whole is not answering
_DOWN = frozenset({502, 503})  # a proxy in front of a server that is not there
_REFUSES_US = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})  # the same answer awaits every request
_TOO_LONG = re.compile(
    r"context_length_exceeded|context (?:length|window)|maximum model length|max_model_len|prompt is too long|"
    r"maximum (?:input|prompt|sequence) length|maximum number of (?:input )?tokens",
    re.IGNORECASE,
)


_parsed = lru_cache(maxsize=1024)(httpx2.URL)
"""A server has few routes, and reading a URL costs a tenth of a request."""


class RequestRejected(Failed):
    """One request failed, while the model may well answer others."""


class PromptTooLong(RequestRejected):
    """The prompt and `max_tokens` do not fit the model's context; nothing was cut."""

    http_status = 422


class RequestTimedOut(RequestRejected):
    """No answer in time, after retries."""

    http_status = 504


class RequestFailed(RequestRejected):
    """The server answered this request with an error or with something that is not what was asked for."""

    http_status = 502


@dataclass(frozen=True)
class RetryPolicy:
    """When to give up on a request."""

    budget_s: float = 10.0
    """No attempt starts later than this many seconds after the first one began."""
    first_wait_s: float = 0.25
    max_wait_s: float = 5.0
    """Longest wait between two attempts, doubling up to here; a server's Retry-After may ask for more."""
    patience_s: float | None = None
    """How long to wait for a server that went away; None: `budget_s`. A job of hours wants minutes.

    A server that never answered is given `budget_s`: its address may be wrong, and nobody should wait to learn that.
    """


class Endpoint:
    """A server under one base URL.

    Proxy variables of the environment are ignored and redirects are not followed: prompts go where the registry says.
    """

    def __init__(
        self,
        name: str,
        url: str,
        api_key: str | None,
        max_concurrency: int,
        timeout_s: float,
        retry: RetryPolicy,
        transport: httpx2.AsyncBaseTransport | None = None,
        notice: Notice | None = None,
    ) -> None:
        self.name = name
        self._retry = retry
        self._slots = asyncio.Semaphore(max_concurrency)
        self._secrets = tuple(secret for secret in (url, api_key) if secret)
        try:
            self._base = httpx2.URL(url.rstrip("/") + "/")
        except httpx2.InvalidURL as error:
            raise InvalidInput(
                "not a URL", field=f"models.{name}.endpoint", remedy="write it like http://host:8000/v1"
            ) from error
        self._has_answered = False
        self._breaker = Breaker(name, first_wait_s=retry.first_wait_s * 2, notice=notice)
        self._headers = {"Accept": "application/json", "User-Agent": f"solon/{__version__}"}
        self._headers |= {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = {"connect": _CONNECT_TIMEOUT_S, "read": timeout_s, "write": timeout_s, "pool": None}
        self._transport = transport or Lanes(tls=self._base.scheme == "https")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def beside(self, path: str) -> httpx2.URL:
        """URL of a route beside the /v1 that the base URL ends in, such as vLLM's `/classify`."""
        return _parsed(str(self._base).removesuffix("/").removesuffix("/v1") + path)

    def below(self, path: str) -> httpx2.URL:
        """URL of a route below the base URL."""
        return _parsed(str(self._base) + path)

    async def post(self, url: httpx2.URL | str, body: dict[str, Any], exchange: Exchange = UNSEEN) -> bytes:
        """The body of the answer, after retries; `exchange` is told of each attempt, and its headers are sent.

        Raises:
            ModelUnavailable: no request can succeed now.
            PromptTooLong, RequestTimedOut, RequestFailed: this request failed, others may succeed.
        """
        async with self._slots:
            return (await self._attempts(url, body, exchange)).content

    @property
    def _outage_s(self) -> float:
        """Longest wait for the server while it cannot be reached."""
        patience_s = self._retry.patience_s
        return patience_s if patience_s is not None and self._has_answered else self._retry.budget_s

    async def _attempts(self, url: httpx2.URL | str, body: dict[str, Any], exchange: Exchange) -> httpx2.Response:
        started = time.monotonic()
        attempts = 0
        try:
            async for attempt in stamina.retry_context(
                on=self._backoff(started),
                attempts=None,
                timeout=max(self._retry.budget_s, self._retry.patience_s or 0.0),  # `_backoff` ends most sooner
                wait_initial=self._retry.first_wait_s,
                wait_max=self._retry.max_wait_s,
                wait_jitter=self._retry.first_wait_s,
            ):
                with attempt:
                    async with self._breaker.turn(started + self._outage_s) as turn:
                        attempts += 1
                        exchange.attempted()
                        response = await self._one(url, body, exchange.headers, turn.down)
                    return response.raise_for_status()
        except httpx2.HTTPError as error:
            times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
            self._give_up(error, f"after {times} in {time.monotonic() - started:.1f} s")
        raise AssertionError("retry_context ends by returning or raising")

    async def _one(
        self, url: httpx2.URL | str, body: dict[str, Any], headers: Mapping[str, str], down: Callable[[], None]
    ) -> httpx2.Response:
        """One attempt; `down` is called where it found no server."""
        try:
            timeout = {"timeout": self._timeout}
            sent = {**headers, **self._headers}
            request = httpx2.Request("POST", url, headers=sent, json=body, extensions=timeout)
            response = await self._transport.handle_async_request(request)  # a client's redirects, cookies and
            response.request = request  # proxies are not wanted here, and its layers cost more than the request
            await response.aread()
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            down()
            raise
        if response.status_code in _DOWN:
            down()
        else:
            self._has_answered = True
        return response

    def _backoff(self, started: float) -> Callable[[Exception], bool | float]:
        """Whether to retry after an error, or after how many seconds when the server said so."""

        def decide(error: Exception) -> bool | float:
            spent_s = time.monotonic() - started
            if isinstance(error, httpx2.HTTPStatusError):
                code = error.response.status_code
                left_s = (self._outage_s if code in _GONE else self._retry.budget_s) - spent_s
                asked_s = retry_after_s(error.response.headers.get("Retry-After"))
                if code not in _RETRIED or left_s <= 0:
                    return False
                return True if asked_s is None else asked_s if asked_s < left_s else False
            if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                return spent_s < self._outage_s
            transient = isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)
            return transient and spent_s < self._retry.budget_s

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

"""The outermost middleware: each request gets an id, a bounded share of the server, a count, a time and a log line.

A client's `X-Request-ID` is taken where it looks like one; otherwise a request gets a new one. It comes back with the
answer, stands in every log line and problem, and goes along to the judge.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.ending import Ending
from api.ids import new_id
from api.logs import logger
from api.observation import Observation
from api.problems import bug, problem, solon_problem
from api.request_ids import REQUEST_ID
from solon.errors import SolonError
from solon.service_settings import Limits

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES: Final = frozenset({"/livez", "/readyz", "/health", "/metrics"})
"""Always let in, and logged only where they fail."""
_AGAIN: Final = "send it again: another server, or this one when it is back, answers it"

log = logger("solon.http")


@dataclass
class _Seen:
    """What became of one request."""

    began: float = field(default_factory=time.perf_counter)
    status: int | None = None
    is_stream: bool = False
    body_is_in: bool = False
    is_too_slow: bool = False
    """The client sent its body, or took the answer, too slowly."""
    is_cut: bool = False
    """The server ends: what the app still says is not sent."""


class Traffic:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, observation: Observation, limits: Limits, ending: Ending) -> None:
        self._app = app
        self._ending = ending
        self._metrics = observation.metrics
        self._limits = limits
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or say that there is no room for it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _ID.fullmatch(asked) else new_id("req")
        token = REQUEST_ID.set(request_id)
        seen = _Seen()
        self._metrics.in_flight.inc()
        self._open += 1
        try:
            await self._answer(scope, receive, send, request_id, seen)
        except Exception as error:
            if not seen.is_too_slow:
                log.exception("request failed", method=_method(scope), route=route_of(scope))
                if seen.status is None:  # further out nobody knows the request's id
                    answer = solon_problem(error) if isinstance(error, SolonError) else bug()
                    await answer(scope, receive, self._sender(send, request_id, seen))
                raise
        finally:
            self._open -= 1
            self._metrics.in_flight.dec()
            self._account(scope, seen)
            REQUEST_ID.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str, seen: _Seen) -> None:
        async def received() -> Message:
            if seen.body_is_in:  # what may come now is that the client goes away
                return await receive()
            try:
                async with asyncio.timeout(self._limits.client_timeout_s):
                    message = await receive()
            except TimeoutError:
                await problem(408, "the body did not come in time")(scope, receive, sent)
                seen.is_too_slow = True
                return {"type": "http.disconnect"}
            seen.body_is_in = not message.get("more_body", False)
            return message

        sent = self._sender(send, request_id, seen)
        if self._open > self._limits.requests_open and scope["path"] not in _PROBES:
            detail = "as many requests as the server takes are open"
            await problem(503, detail, headers={"Retry-After": "1"}, remedy="try again in 1 s")(scope, receive, sent)
            return

        async def sent_by_app(message: Message) -> None:
            if not seen.is_cut:
                await sent(message)

        async def tell() -> None:
            seen.is_cut = True
            if seen.status is None:
                about: dict[str, Any] = {"remedy": _AGAIN, "request_id": request_id}
                answer = problem(503, "the server is ending", headers={"Retry-After": "1"}, **about)
                await answer(scope, receive, sent)
            elif seen.is_stream:
                await sent({"type": "http.response.body", "body": b""})

        async with self._ending.request(lambda: seen.is_stream, tell):
            await self._app(scope, received, sent_by_app)

    def _sender(self, send: Send, request_id: str, seen: _Seen) -> Send:
        async def sent(message: Message) -> None:
            if seen.is_too_slow:  # it was told so, or is not listening
                return
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                seen.is_stream = headers.get("content-type", "").startswith("text/event-stream")
            try:
                async with asyncio.timeout(self._limits.client_timeout_s):
                    await send(message)
            except TimeoutError:
                seen.is_too_slow = True
                raise  # an OSError: starlette takes it for a client that is gone

        return sent

    def _account(self, scope: Scope, seen: _Seen) -> None:
        seconds = time.perf_counter() - seen.began
        method, route = _method(scope), route_of(scope)
        status = 499 if seen.status is None else seen.status  # the client was gone before the answer began
        self._metrics.requests.labels(method, route, str(status)).inc()
        if not seen.is_stream:
            self._metrics.request_seconds.labels(method, route).observe(seconds)
        if scope["path"] in _PROBES and status < 400:
            return
        told: dict[str, Any] = {"method": method, "route": route, "status": status, "duration_s": round(seconds, 4)}
        identity = scope.get("state", {}).get("identity")
        if identity is not None:
            told["project"] = identity.project
        (log.warning if status >= 500 else log.info)("request", **told)


def route_of(scope: Scope) -> str:
    """The template of the route that took the request; never the path itself, of which there are endlessly many."""
    return getattr(scope.get("route"), "path", None) or "unmatched"


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"

"""One request of a client, what its answer means, and when it is sent again; nothing is sent here.

`api.calls` makes the requests, `Service` and `AsyncService` (`api.client`, `api.async_client`) send them.
"""

import os
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter, ValidationError

from api.services import Page
from solon.errors import (
    Busy,
    Conflict,
    Failed,
    Forbidden,
    InvalidInput,
    ModelUnavailable,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    SolonError,
    StillRunning,
    Unauthorized,
    UsageError,
)
from solon.settings import CLIENT_KEY

Answer = TypeVar("Answer")
Json = Mapping[str, Any]

TIMEOUT: Final = httpx2.Timeout(30.0, read=600.0)
"""Labels are made while the answer is waited for."""
_PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses that another try may change."""
_BY_STATUS: Final[dict[int, type[SolonError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: InvalidInput,
    428: PreconditionRequired,
    503: ModelUnavailable,
}


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, and what its answer is read as."""

    method: str
    path: str
    answer: Any
    """A type."""
    params: Json = field(default_factory=dict[str, Any])
    body: Any = None
    """JSON, or bytes as they are."""
    key: str | None = None
    """Idempotency-Key; a POST without one gets one, so that it may be sent again."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    form: Json = field(default_factory=dict[str, Any])
    """`data` and `files` of a form, in place of a body."""

    def options(self) -> dict[str, Any]:
        """For httpx2; the same for every try."""
        headers = {**self.headers, **({"Idempotency-Key": self.key} if self.key is not None else {})}
        kind = "content" if isinstance(self.body, bytes) else "json"
        body = {kind: self.body} if self.body is not None else dict(self.form)
        return {"params": {name: value for name, value in self.params.items() if value is not None}, **body} | (
            {"headers": headers} if headers else {}
        )

    def read(self, response: httpx2.Response) -> Answer:
        """The answer; raises the error that it is, or Failed where no service of ours gives such a one."""
        if response.is_error:
            raise refusal(response)
        kind = TypeAdapter[Answer](self.answer)
        try:
            return kind.validate_json(response.content) if response.content else kind.validate_python(None)
        except ValidationError as error:
            raise strange() from error


def post(path: str, answer: Any, body: Any = None, key: str | None = None) -> Call[Any]:
    """A POST, with an Idempotency-Key of its own unless one is given."""
    return Call("POST", path, answer, body=body, key=key or str(uuid.uuid4()))


def get(path: str, answer: Any, **params: Any) -> Call[Any]:
    """A GET."""
    return Call("GET", path, answer, params=params)


def at(path: str, **ids: str) -> str:
    """The path with its ids; raises InvalidInput for what would make another path of it."""
    for name, each in ids.items():
        if not each or "/" in each or each in (".", ".."):
            raise InvalidInput("is not an id", field=name, remedy="copy one from a list of what there is")
    return path.format(**{name: quote(each, safe="") for name, each in ids.items()})


def after(call: Call[Page[Any]], page: Page[Any]) -> Call[Page[Any]]:
    """The request for the page after this one."""
    return replace(call, params={**call.params, "after": page.last_id})


@dataclass(frozen=True)
class Patience:
    """When a request is sent again: after failures that pass, if it does no harm."""

    retries: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0
    """A service that names a longer time is not waited for."""
    chance: Callable[[], float] = random.random

    def wait_s(self, tries: int, call: Call[Any], outcome: httpx2.Response | httpx2.TransportError) -> float | None:
        """Seconds until the next try; None where there is none.

        Args:
            tries: made so far, at least 1.
        """
        if tries > self.retries or (call.method != "GET" and call.key is None):
            return None
        backoff = self.first_wait_s * 2 ** (tries - 1) * (0.5 + self.chance())
        if not isinstance(outcome, httpx2.Response):
            return None if isinstance(outcome, httpx2.UnsupportedProtocol) else min(backoff, self.longest_wait_s)
        told = outcome.headers.get("Retry-After", "")
        if outcome.status_code not in _PASSING and not (outcome.status_code == 409 and told):
            return None
        if told.isdigit():
            return float(told) if float(told) <= self.longest_wait_s else None
        return min(backoff, self.longest_wait_s)


AT_A_TERMINAL: Final = Patience(longest_wait_s=5.0)
"""For commands: a person would rather read that the service is busy, and when to come back."""


def headers(key: str | None) -> dict[str, str]:
    """Of every request; the key is taken from SOLON_API_KEY unless one is given."""
    found = key if key is not None else os.environ.get(CLIENT_KEY)
    return {"Authorization": f"Bearer {found}"} if found else {}


def unreachable(address: str) -> Failed:
    """There is nobody at the address."""
    return Failed(f"there is no service at {address}", remedy="start one with `solon serve`, or give --server URL")


def strange() -> Failed:
    """Something answered, but not as the service does."""
    return Failed("what answers there does not answer like Solon", remedy="check the address; --server names another")


def refusal(response: httpx2.Response) -> SolonError:
    """The error that an answer is, with the field and the remedy that it names."""
    try:
        found = response.json()
    except ValueError:
        found = None
    problem: dict[str, Any] = found if isinstance(found, dict) else {}
    message = problem.get("detail") or f"the service answered HTTP {response.status_code}"
    remedy, named = problem.get("remedy") or "", problem.get("field")
    told = response.headers.get("Retry-After", "")
    if response.status_code == 429:
        return Busy(message, retry_after_s=float(told) if told.isdigit() else 1.0)
    if response.status_code == 409 and told:
        return StillRunning(message, remedy=remedy, field=named)
    kind = _BY_STATUS.get(response.status_code, UsageError if response.status_code < 500 else Failed)
    return kind(message, remedy=remedy, field=named)

"""What a client of the service sends and what it makes of answers, without sending anything itself.

`Service` and `AsyncService` (`api.client`, `api.async_client`) share every request, every error and when to try again.
"""

import os
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import httpx2
from pydantic import TypeAdapter

from api.recipes import Recipe
from api.routes.constitutions import Card
from api.routes.critiques import Revised
from api.routes.dataset_sources import Dataset
from api.routes.datasets import StoredFrom
from api.routes.models import ModelCard, ModelDetail, PromotionCard
from api.routes.preferences import Labelled
from api.routes.stored_preferences import AgreementReport, PreferenceDetail
from api.routes.trials import Relabelled
from api.services import Page
from api.store.audits import StoredAudit
from api.store.jobs import Job
from api.store.preferences import StoredPreference
from api.store.reviews import Review
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
    key: str | None = None
    """Idempotency-Key; a POST without one gets one, so that it may be sent again."""

    def options(self) -> dict[str, Any]:
        """For httpx2; the same for every try."""
        headers = {"Idempotency-Key": self.key} if self.key is not None else {}
        body = {"json": self.body} if self.body is not None else {}
        return {"params": {name: value for name, value in self.params.items() if value is not None}, **body} | (
            {"headers": headers} if headers else {}
        )

    def read(self, response: httpx2.Response) -> Answer:
        """The answer; raises the error that it is."""
        if response.is_error:
            raise refusal(response)
        return TypeAdapter[Answer](self.answer).validate_json(response.content)


def post(path: str, answer: Any, body: Any = None, key: str | None = None) -> Call[Any]:
    """A POST, with an Idempotency-Key of its own unless one is given."""
    return Call("POST", path, answer, body=body, key=key or str(uuid.uuid4()))


def get(path: str, answer: Any, **params: Any) -> Call[Any]:
    """A GET."""
    return Call("GET", path, answer, params=params)


def label(prompts: list[Json], *, key: str | None = None, **request: Any) -> Call[Labelled]:
    """POST /v1/preferences."""
    return post("/v1/preferences", Labelled, {"prompts": prompts} | request, key)


def preferences(**query: Any) -> Call[Page[StoredPreference]]:
    """GET /v1/preferences; `metadata` is a mapping."""
    entries = {f"metadata[{name}]": value for name, value in query.pop("metadata", {}).items()}
    return get("/v1/preferences", Page[StoredPreference], **query, **entries)


def preference(preference_id: str, version: int | None = None) -> Call[PreferenceDetail]:
    """GET /v1/preferences/{id}."""
    return get(f"/v1/preferences/{preference_id}", PreferenceDetail, version=version)


def review(preference_id: str, verdict: str, **more: Any) -> Call[Review]:
    """POST /v1/preferences/{id}/reviews."""
    return post(f"/v1/preferences/{preference_id}/reviews", Review, {"verdict": verdict} | more)


def reviews(preference_id: str, **query: Any) -> Call[Page[Review]]:
    """GET /v1/preferences/{id}/reviews."""
    return get(f"/v1/preferences/{preference_id}/reviews", Page[Review], **query)


def agreement(**query: Any) -> Call[AgreementReport]:
    """GET /v1/preferences/agreement."""
    return get("/v1/preferences/agreement", AgreementReport, **query)


def relabel(ids: list[str], constitution: str, judge: str | None = None) -> Call[Relabelled]:
    """POST /v1/preferences/relabel."""
    body = {"ids": ids, "constitution": constitution, "judge": judge}
    return post("/v1/preferences/relabel", Relabelled, body)


def critique(prompts: list[Json], **request: Any) -> Call[Revised]:
    """POST /v1/critiques."""
    return post("/v1/critiques", Revised, {"prompts": prompts} | request)


def create_dataset(name: str, **request: Any) -> Call[Dataset]:
    """POST /v1/datasets."""
    return post("/v1/datasets", Dataset, {"name": name} | request)


def datasets(**query: Any) -> Call[Page[Dataset]]:
    """GET /v1/datasets."""
    return get("/v1/datasets", Page[Dataset], **query)


def dataset(dataset_id: str) -> Call[Dataset]:
    """GET /v1/datasets/{id}."""
    return get(f"/v1/datasets/{dataset_id}", Dataset)


def store_dataset(dataset_id: str) -> Call[StoredFrom]:
    """POST /v1/datasets/{id}/store."""
    return post(f"/v1/datasets/{dataset_id}/store", StoredFrom)


def constitutions(**query: Any) -> Call[Page[Card]]:
    """GET /v1/constitutions."""
    return get("/v1/constitutions", Page[Card], **query)


def models(**query: Any) -> Call[Page[ModelCard]]:
    """GET /v1/models."""
    return get("/v1/models", Page[ModelCard], **query)


def model(model_id: str) -> Call[ModelDetail]:
    """GET /v1/models/{id}."""
    return get(f"/v1/models/{model_id}", ModelDetail)


def promote(model_id: str, name: str, *, force: bool = False, reason: str = "") -> Call[PromotionCard]:
    """POST /v1/models/{id}/promote."""
    return post(f"/v1/models/{model_id}/promote", PromotionCard, {"name": name, "force": force, "reason": reason})


def audit(**request: Any) -> Call[StoredAudit]:
    """POST /v1/audits."""
    return post("/v1/audits", StoredAudit, request)


def find_audit(audit_id: str) -> Call[StoredAudit]:
    """GET /v1/audits/{id}."""
    return get(f"/v1/audits/{audit_id}", StoredAudit)


def submit(recipe: Recipe, key: str | None = None) -> Call[Job]:
    """POST /v1/jobs."""
    return post("/v1/jobs", Job, {"recipe": recipe.model_dump(mode="json")}, key)


def jobs(**query: Any) -> Call[Page[Job]]:
    """GET /v1/jobs."""
    return get("/v1/jobs", Page[Job], **query)


def job(job_id: str) -> Call[Job]:
    """GET /v1/jobs/{id}."""
    return get(f"/v1/jobs/{job_id}", Job)


def wish(job_id: str, verb: str) -> Call[Job]:
    """POST /v1/jobs/{id}/cancel, /pause or /resume."""
    return post(f"/v1/jobs/{job_id}/{verb}", Job)


def after(call: Call[Page[Any]], page: Page[Any]) -> Call[Page[Any]]:
    """The request for the page after this one."""
    return Call(call.method, call.path, call.answer, {**call.params, "after": page.last_id})


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


def refusal(response: httpx2.Response) -> SolonError:
    """The error that an answer is, with the field and the remedy that it names."""
    try:
        problem: dict[str, Any] = response.json()
    except ValueError:
        problem = {}
    message = problem.get("detail") or f"the service answered HTTP {response.status_code}"
    remedy, named = problem.get("remedy") or "", problem.get("field")
    told = response.headers.get("Retry-After", "")
    if response.status_code == 429:
        return Busy(message, retry_after_s=float(told) if told.isdigit() else 1.0)
    if response.status_code == 409 and told:
        return StillRunning(message, remedy=remedy, field=named)
    kind = _BY_STATUS.get(response.status_code, UsageError if response.status_code < 500 else Failed)
    return kind(message, remedy=remedy, field=named)

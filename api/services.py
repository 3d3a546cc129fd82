"""What the routes work with, made once per server."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Depends, Query, Request
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine

from api.auditor import Auditor
from api.callers import LOCAL, identity
from api.courier import Courier
from api.embedded import EmbeddedWorkers
from api.judging import ProjectCache
from api.libraries import open_store
from api.limits import Quotas
from api.observation import Observation
from api.promoted import PromotedModels, in_force, stamp, with_promoted
from api.readiness import Readiness
from api.registry import Models, bound
from api.store.changes import ChangeStore
from api.store.files import FileStore
from api.store.jobs import JobStore
from api.store.keys import KeyStore
from api.store.preferences import PreferenceStore
from api.store.reviews import ReviewStore
from api.store.usage import UsageStore
from api.store.webhooks import WebhookStore
from constitution.document import Constitution
from constitution.editing import Editor
from critic.cache import Cache
from solon.errors import Busy
from solon.settings import Settings


class Gate:
    """Lets a bounded number of requests in; one more is Busy. Nothing waits in line."""

    def __init__(self, places: int, what: str = "as many requests as the server takes are being worked on") -> None:
        self._free = places
        self._what = what

    @contextmanager
    def enter(self) -> Generator[None]:
        """One place for the length of the block; raises Busy where none is free."""
        if self._free <= 0:
            raise Busy(self._what, retry_after_s=2)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass
class Services:
    """All that a route may use, as the caller's project sees it. Stores are shared: they take `project`."""

    settings: Settings
    database: Engine
    jobs: JobStore
    constitutions: Editor
    workers: EmbeddedWorkers
    models: Models
    gate: Gate
    auditor: Auditor
    cache: Cache | None
    """Shared with the jobs."""
    keys: KeyStore
    quotas: Quotas
    changes: ChangeStore
    webhooks: WebhookStore
    courier: Courier
    observation: Observation
    readiness: Readiness
    gauges: Sequence[Collector]
    """What the database knows, for /metrics."""
    streams: Gate
    """Places for event streams."""
    views: "dict[str, Services]" = field(default_factory=dict[str, "Services"])
    """By project."""
    stamps: dict[str, int] = field(default_factory=dict[str, int])
    """Of what the views were made with."""

    @property
    def project(self) -> str:
        """The caller's."""
        return self.settings.project

    @property
    def usage(self) -> UsageStore:
        """What projects have used."""
        return self.quotas.usage

    def of(self, project: str) -> "Services":
        """What a project sees: its constitutions, and models and cache that tell it nothing of others."""
        now = stamp(self.settings)
        if self.stamps.get("promotions") != now:
            self.views.clear()
            self.stamps["promotions"] = now
        if project not in self.views:
            if len(self.views) >= _VIEWS:
                self.views.clear()
            self.views[project] = self._view(project)
        return self.views[project]

    def _view(self, project: str) -> "Services":
        settings = self.settings.model_copy(update={"project": project})
        promoted = in_force(settings)
        settings = with_promoted(settings, promoted)
        own = project == self.project
        models = bound(self.models, settings, self.keys, self.quotas)
        return replace(
            self,
            settings=settings,
            constitutions=self.constitutions if own else Editor(open_store(settings, self.database)),
            models=PromotedModels(models, promoted) if promoted else models,
            cache=self.cache if own else ProjectCache.of(self.cache, settings),
        )

    @property
    def preferences(self) -> PreferenceStore:
        """Stored preferences of all projects."""
        return PreferenceStore(self.database)

    @property
    def files(self) -> FileStore:
        """Uploaded files of all projects."""
        return FileStore(self.database)

    @property
    def reviews(self) -> ReviewStore:
        """What people said of them."""
        return ReviewStore(self.database)

    async def constitution(self, reference: str) -> Constitution:
        """The published constitution that a request names; a file or a draft is never read."""
        return await asyncio.to_thread(self.constitutions.library.load, reference)


_VIEWS = 1000
"""Projects whose views are kept."""


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services.of((identity(request) or LOCAL).project)


Use = Annotated[Services, Depends(_services)]
"""A route's parameter that gets the services."""

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A list in the shape that OpenAI's API gives it."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | int | None = None
    last_id: str | int | None = None
    has_more: bool = False


class Paging(BaseModel):
    """Query parameters of every list; another one is a mistake. A list with more of them has a subclass."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    after: Annotated[str | None, Query(max_length=100)] = None
    """Cursor: the `last_id` of the page before."""
    limit: Annotated[int, Query(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    """`desc`: newest first."""


class NamePaging(Paging):
    """Query parameters of a list that goes by name."""

    order: Literal["asc", "desc"] = "asc"

"""What the routes work with, made once per server."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel

from api.auditor import Auditor
from api.registry import Models
from api.runner import Runner
from api.store.jobs import JobStore
from constitution.document import Constitution
from constitution.editing import Editor
from critic.cache import Cache
from solon.errors import Busy
from solon.settings import Settings


class Gate:
    """Lets a bounded number of requests in; one more is Busy. Nothing waits in line."""

    def __init__(self, places: int) -> None:
        self._free = places

    @contextmanager
    def enter(self) -> Generator[None]:
        """One place for the length of the block; raises Busy where none is free."""
        if self._free <= 0:
            raise Busy("as many requests as the server takes are being worked on", retry_after_s=2)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass
class Services:
    """All that a route may use."""

    settings: Settings
    jobs: JobStore
    constitutions: Editor
    runner: Runner
    models: Models
    gate: Gate
    auditor: Auditor
    cache: Cache | None
    """Shared with the jobs."""

    async def constitution(self, reference: str) -> Constitution:
        """The published constitution that a request names; a file or a draft is never read."""
        return await asyncio.to_thread(self.constitutions.library.load, reference)


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


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
    """Query parameters of every list."""

    after: Annotated[str | None, Query(max_length=100)] = None
    limit: Annotated[int, Query(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"

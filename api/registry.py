"""Registered models, running: what workflows and routes ask for by name."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from api.events import Emit, Event
from api.limits import MeteredModels, Quotas
from api.store.database import database_exists, open_database
from api.store.keys import KeyStore
from api.store.usage import UsageStore
from solon.breaker import Notice, Outage
from solon.chat import ChatModel, OpenAIChat
from solon.exchanges import Observer
from solon.settings import DEFAULT_PROJECT, Settings


class Models(Protocol):
    """Registered models by name: `api.engines.Engines`, or a fake."""

    async def chat(self, name: str) -> ChatModel:
        """The running model; raises NotFound or ModelUnavailable."""
        ...

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """Make model directories available to `chat` under these names."""
        ...


class Salted:
    """Models as one project asks them: what it has in a server's prefix cache, no other project's requests hit."""

    def __init__(self, models: Models, salt: str | None) -> None:
        self._models = models
        self._salt = salt

    async def chat(self, name: str) -> ChatModel:
        """See `Models.chat`."""
        found = await self._models.chat(name)
        return found.salted(self._salt) if self._salt is not None and isinstance(found, OpenAIChat) else found

    async def serve(self, directories: Mapping[str, Path]) -> None:
        """See `Models.serve`."""
        await self._models.serve(directories)


@asynccontextmanager
async def opened(
    settings: Settings, models: Models | None = None, *, emit: Emit | None = None
) -> AsyncGenerator[Models]:
    """The given models, or engines of our own for the settings' project that are stopped at the end.

    Args:
        emit: of a job, which waits for a model server that cannot be reached, as long as the settings say, and tells.
    """
    if models is not None:
        yield models
        return
    from api.engines import Engines

    if emit is None:
        engines = Engines(settings)
    else:
        engines = Engines(settings, patience_s=settings.limits.patience_s, notice=_telling(emit))
    async with engines, _accounts(settings) as found:
        yield engines if found is None else bound(engines, settings, *found)


def bound(models: Models, settings: Settings, keys: KeyStore, quotas: Quotas) -> Models:
    """The models as the project of the settings asks them: apart from others, and paid from its quota."""
    return MeteredModels(Salted(models, keys.salt(settings.project)), settings, quotas)


@asynccontextmanager
async def _accounts(settings: Settings) -> AsyncGenerator[tuple[KeyStore, Quotas] | None]:
    """The projects of the database; None where there is no database, and so no project but the default one."""
    if not database_exists(settings.database) and settings.project == DEFAULT_PROJECT:
        yield None
        return
    database = open_database(settings.database)
    quotas = Quotas(UsageStore(database, settings.tenancy.quota))
    try:
        yield KeyStore(database), quotas
    finally:
        await quotas.tally.close()
        database.dispose()


@asynccontextmanager
async def started(
    settings: Settings, models: Models | None = None, *, notice: Notice | None = None, observer: Observer | None = None
) -> AsyncGenerator[Models]:
    """The given models, or engines of our own, for all projects: a server binds them to each.

    Args:
        notice: told when a model server goes away and when it is back.
        observer: sees each request; None: whoever watches the process.
    """
    if models is not None:
        yield models
        return
    from api.engines import Engines

    async with Engines(settings, notice=notice, observer=observer) as engines:
        yield engines


def _telling(emit: Emit) -> Notice:
    """Passes outages on as events."""

    def notice(outage: Outage) -> None:
        if outage.over:
            emit(Event(type="resumed", message=f"model {outage.model!r} is back after {outage.seconds:.0f} s"))
        else:
            emit(Event(type="paused", message=f"model {outage.model!r} cannot be reached; waiting for it"))

    return notice

"""The service: routes, error answers, and what lives as long as the server does."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api import (
    audits,
    constitutions,
    critiques,
    datasets,
    drafts,
    health,
    jobs,
    preferences,
    problems,
    projects,
    rewards,
    stored_preferences,
    trial_routes,
)
from api import changes as changes_routes
from api import keys as key_routes
from api import models as model_routes
from api.access import Access
from api.auditor import Auditor
from api.callers import require_scopes
from api.judging import opened_cache
from api.libraries import open_store
from api.registry import Models, started
from api.runner import Command, Runner, align_command
from api.services import Gate, Services
from api.store.audits import AuditStore
from api.store.database import open_database
from api.store.jobs import JobStore
from constitution.editing import Editor
from solon import __version__
from solon.settings import Settings

MAX_BODY_BYTES = 4 << 20

NOUNS = (
    preferences,
    stored_preferences,
    datasets,
    constitutions,
    drafts,
    trial_routes,
    critiques,
    audits,
    model_routes,
    jobs,
    rewards,
    key_routes,
    projects,
    changes_routes,
    health,
)


def create_app(settings: Settings, *, models: Models | None = None, command: Command = align_command) -> FastAPI:
    """The ASGI application; `models` and `command` stand in for real models and real jobs in tests.

    Raises InvalidInput where the database cannot be opened.
    """

    database = open_database(settings.database)
    store, editor = JobStore(database), Editor(open_store(settings, database))
    access = Access.of(database, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(database.dispose)
            served = await stack.enter_async_context(started(settings, models))
            runner = await stack.enter_async_context(Runner(store, settings, command))
            gate = Gate(settings.limits.requests_in_flight)
            cache = stack.enter_context(opened_cache(settings))
            auditor = await stack.enter_async_context(Auditor(AuditStore(database), settings, served, cache))
            app.state.services = Services(
                settings,
                database,
                store,
                editor,
                runner,
                served,
                gate,
                auditor,
                cache,
                access.keys,
                access.quotas,
                access.changes,
            )
            yield

    app = FastAPI(
        title="Solon",
        summary="AI feedback under a published constitution.",
        version=__version__,
        lifespan=lifespan,
        responses=problems.RESPONSES,
    )
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES)
    access.guard(app)
    # Another Host is a web page that resolves its own name to this machine.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", *settings.hosts])
    app.add_middleware(problems.PlainErrors)
    problems.install(app)
    for noun in NOUNS:
        app.include_router(noun.router)
    require_scopes(app)
    return app

"""The service: routes, error answers, and what lives as long as the server does."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from api import problems, reference
from api.access import Access
from api.auditor import Auditor
from api.callers import require_scopes
from api.courier import Courier
from api.durable import Durable
from api.embedded import EmbeddedWorkers
from api.ending import Ending
from api.gauges import DatabaseGauges
from api.housekeeping import Housekeeper
from api.judging import opened_cache
from api.libraries import open_store
from api.observation import Observation
from api.parameters import CHECKED
from api.readiness import Readiness, database_answers, jobs_are_run, judges_answer, schema_is_current
from api.registry import Models, started
from api.routes import (
    audits,
    batches,
    constitutions,
    critiques,
    datasets,
    drafts,
    files,
    health,
    job_events,
    jobs,
    openai_jobs,
    preferences,
    projects,
    rewards,
    stored_preferences,
)
from api.routes import changes as changes_routes
from api.routes import keys as key_routes
from api.routes import models as model_routes
from api.routes import trials as trial_routes
from api.routes import webhooks as webhook_routes
from api.services import Gate, Services
from api.store.audits import AuditStore
from api.store.database import open_database
from api.store.jobs import JobStore
from api.store.webhooks import WebhookStore
from api.traffic import Traffic
from constitution.editing import Editor
from solon import __version__
from solon.settings import Settings

NOUNS = (
    preferences,
    batches,
    stored_preferences,
    datasets,
    files,
    constitutions,
    drafts,
    trial_routes,
    critiques,
    audits,
    model_routes,
    jobs,
    job_events,
    openai_jobs,
    rewards,
    key_routes,
    projects,
    changes_routes,
    webhook_routes,
    health,
)


def create_app(
    settings: Settings,
    *,
    models: Models | None = None,
    workers: int = 0,
    observation: Observation | None = None,
) -> FastAPI:
    """The ASGI application; `models` stand in for real models in tests.

    Args:
        workers: processes beside the server that do jobs.
        observation: what its requests and model calls are counted and traced by; None: one of its own, without traces.

    Raises InvalidInput where the database cannot be opened.
    """

    database = open_database(settings.database)
    access = Access.of(database, settings)
    observed = observation or Observation(settings.models)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = await _services(stack, settings, database, access, observed, models, workers)
            yield

    app = FastAPI(
        title="Solon",
        summary="AI feedback under a published constitution.",
        version=__version__,
        lifespan=lifespan,
        responses=problems.RESPONSES,
        dependencies=[CHECKED],
        telemetry=observed.telemetry(),
        generate_unique_id_function=reference.operation_id,
    )
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=problems.MAX_BODY_BYTES)
    access.guard(app)
    # Another Host is a web page that resolves its own name to this machine.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", *settings.hosts])
    app.add_middleware(problems.PlainErrors)
    app.state.ending = Ending()
    app.add_middleware(Traffic, observation=observed, limits=settings.limits, ending=app.state.ending)
    problems.install(app)
    for noun in NOUNS:
        app.include_router(noun.router)
    require_scopes(app)
    reference.install(app)
    return app


async def _services(
    stack: AsyncExitStack,
    settings: Settings,
    database: Engine,
    access: Access,
    observed: Observation,
    models: Models | None,
    workers: int,
) -> Services:
    """What the routes work with, running until the stack is closed."""
    stack.callback(database.dispose)
    stack.push_async_callback(access.quotas.tally.close)
    store = JobStore(database, Durable(database))
    connected = started(settings, models, notice=observed.noticing(), observer=observed)
    served = await stack.enter_async_context(connected)
    embedded = await stack.enter_async_context(EmbeddedWorkers(settings, workers))
    cache = stack.enter_context(opened_cache(settings))
    auditor = await stack.enter_async_context(Auditor(AuditStore(database), settings, served, cache))
    webhooks = WebhookStore(database)
    courier = await stack.enter_async_context(Courier(webhooks, settings))
    chores = {
        "usage": access.quotas.usage.forget,
        "deliveries": lambda: webhooks.forget(time.time() - settings.webhooks.keep_s),
    }
    await stack.enter_async_context(Housekeeper(chores))
    checks = {
        "database": database_answers(database),
        "migrations": schema_is_current(database),
        "jobs": jobs_are_run(lambda: embedded.alive),
    }
    return Services(
        settings=settings,
        database=database,
        jobs=store,
        constitutions=Editor(open_store(settings, database)),
        workers=embedded,
        models=served,
        gate=Gate(settings.limits.requests_in_flight),
        auditor=auditor,
        cache=cache,
        keys=access.keys,
        quotas=access.quotas,
        changes=access.changes,
        webhooks=webhooks,
        courier=courier,
        observation=observed,
        readiness=Readiness(checks | judges_answer(settings, served), settings.probes),
        gauges=(DatabaseGauges(database, settings.jobs.dead_after_s),),
        streams=Gate(settings.limits.event_streams, "as many event streams as the server takes are open"),
    )

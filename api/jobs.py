"""/v1/jobs: self-alignment jobs, their events, and a stream of them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Generator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, StringConstraints

from api.callers import READ, TRAIN
from api.recipes import Recipe, files_named, is_file_id
from api.services import Page, Paging, Use
from api.store.jobs import FINISHED, Job, JobEvent
from constitution.weighting import weighted
from solon.errors import InvalidInput, NotFound

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_POLL_S = 0.25


class JobRequest(BaseModel):
    """What to do."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipe: Recipe


IdempotencyKey = Annotated[str | None, Header(), StringConstraints(min_length=1, max_length=255)]


@router.post("", dependencies=[TRAIN], status_code=202)
def create_job(request: JobRequest, services: Use, idempotency_key: IdempotencyKey = None) -> Job:
    """Queue a job; the same Idempotency-Key and body give the same job, however often they are sent."""
    recipe = request.recipe
    _check(recipe, services)
    body = recipe.model_dump_json().encode()
    # A label may move, and a new version may come, before the job's turn: it gets the text that is meant now.
    pinned = services.constitutions.library.pinned(recipe.constitution)
    job = services.jobs.create(
        recipe.model_dump(mode="json") | {"constitution": pinned},
        max_queued=services.settings.limits.queued_jobs,
        request_hash=hashlib.sha256(body).hexdigest(),
        idempotency_key=idempotency_key,
        project=services.project,
    )
    services.runner.wake()
    return job


def _check(recipe: Recipe, services: Use) -> None:
    """Refuse what would fail later: files of the client, unknown names."""
    if named := files_named(recipe):
        raise InvalidInput(
            "a recipe sent to a server names no files",
            field=f"recipe.{named[0]}",
            remedy="use builtin:agora/train, an uploaded file's id, and a published constitution",
        )
    for name in ("train", "eval"):
        if is_file_id(reference := getattr(recipe.prompts, name)):
            _require_prompts(reference, f"recipe.prompts.{name}", services)
    weighted(services.constitutions.library.load(recipe.constitution), recipe.weights)
    services.settings.model(recipe.policy, "policy")
    for judge in (recipe.judge, recipe.held_out_judge):
        if judge is not None:
            services.settings.model(judge, "judge")


def _require_prompts(file_id: str, field: str, services: Use) -> None:
    try:
        file = services.files.get(file_id, project=services.project)
    except NotFound as error:
        raise NotFound(error.message, field=field, remedy=error.remedy) from error
    if file.purpose != "prompts":
        raise InvalidInput("this file holds no prompts", field=field, remedy="upload it with purpose=prompts")


@router.get("", dependencies=[READ])
def list_jobs(services: Use, paging: Annotated[Paging, Query()]) -> Page[Job]:
    """Jobs, newest first unless `order` says otherwise."""
    jobs, more = services.jobs.page(
        after=paging.after, limit=paging.limit, order=paging.order, project=services.project
    )
    return Page(data=jobs, first_id=jobs[0].id if jobs else None, last_id=jobs[-1].id if jobs else None, has_more=more)


def _found(job_id: str, services: Use) -> Job:
    return services.jobs.get(job_id, project=services.project)


Found = Annotated[Job, Depends(_found)]


@router.get("/{job_id}", dependencies=[READ])
def get_job(job: Found) -> Job:
    """One job."""
    return job


@router.post("/{job_id}/cancel", dependencies=[TRAIN])
async def cancel_job(job_id: str, services: Use) -> Job:
    """Ask a job to stop; a finished one is returned unchanged."""
    return await services.runner.cancel(job_id, project=services.project)


@router.get("/{job_id}/events", dependencies=[READ])
def list_events(
    job: Found,
    services: Use,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[JobEvent]:
    """Events in the order in which they happened."""
    events = services.jobs.events(job.id, after=after, limit=limit + 1)
    shown = events[:limit]
    return Page(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(events) > limit,
    )


def _stream_place(services: Use) -> Generator[None]:
    """A place among the event streams for as long as one is open."""
    with services.streams.enter():
        services.observation.metrics.streams.inc()
        try:
            yield
        finally:
            services.observation.metrics.streams.dec()


@router.get(
    "/{job_id}/events/stream",
    response_class=EventSourceResponse,
    dependencies=[READ, Depends(_stream_place, scope="request")],
)
async def stream_events(
    job: Found, services: Use, last_event_id: Annotated[int, Header(ge=0)] = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stored events, then new ones as they happen; after the last one an `end` event carries the finished job.

    A client that reconnects with Last-Event-ID misses none and sees none twice.
    """
    after = last_event_id
    while True:
        current = await asyncio.to_thread(
            services.jobs.get, job.id
        )  # before its events: none can follow a finished job
        for event in await asyncio.to_thread(services.jobs.events, job.id, after=after):
            yield ServerSentEvent(id=str(event.id), event=event.event.type, data=event)
            after = event.id
        if current.status in FINISHED:
            yield ServerSentEvent(event="end", data=current)
            return
        await asyncio.sleep(_POLL_S)

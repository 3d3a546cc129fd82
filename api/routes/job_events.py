"""/v1/jobs/{id}/...: what a job tells: events, a stream of them, the curves of its trainings, their checkpoints."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.callers import READ
from api.routes.jobs import Found
from api.services import Page, Use
from api.store.jobs import FINISHED, JobEvent, MetricPoint, TrainingCheckpoint

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

Item = TypeVar("Item")

_POLL_S = 0.25
_AT_ONCE = 500


@router.get("/events", dependencies=[READ])
def list_events(
    job: Found,
    services: Use,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[JobEvent]:
    """Events in the order in which they happened, numbered from 1 without a gap."""
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
    "/events/stream",
    response_class=EventSourceResponse,
    dependencies=[READ, Depends(_stream_place, scope="request")],
)
async def stream_events(
    job: Found, services: Use, last_event_id: Annotated[int, Header(ge=0)] = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stored events, then new ones as they happen; after the last one an `end` event carries the finished job.

    A client that reconnects with Last-Event-ID misses none and sees none twice. The stream of a paused job stays open.
    """
    after = last_event_id
    while True:
        current = await asyncio.to_thread(services.jobs.get, job.id)  # before its events: none follow a finished job
        events = await asyncio.to_thread(services.jobs.events, job.id, after=after, limit=_AT_ONCE)
        for event in events:
            yield ServerSentEvent(id=str(event.id), event=event.event.type, data=event)
            after = event.id
        if len(events) == _AT_ONCE:
            continue
        if current.status in FINISHED:
            yield ServerSentEvent(event="end", data=current)
            return
        await asyncio.sleep(_POLL_S)


@router.get("/metrics", dependencies=[READ])
def list_metrics(
    job: Found,
    services: Use,
    series: Annotated[str | None, Query(max_length=100)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> Page[MetricPoint]:
    """Points of the trainings' curves, by series and optimiser step; `after` counts points and pages through them."""
    return _counted(services.jobs.metrics(job.id, series=series, after=after, limit=limit + 1), after, limit)


@router.get("/checkpoints", dependencies=[READ])
def list_checkpoints(
    job: Found,
    services: Use,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[TrainingCheckpoint]:
    """Checkpoints of the job's trainings. Those that are `kept` are what a training that was stopped goes on from."""
    return _counted(services.jobs.checkpoints(job.id, after=after, limit=limit + 1), after, limit)


def _counted(items: list[Item], after: int, limit: int) -> Page[Item]:
    """A page of things that have no ids but their place in the list."""
    shown = items[:limit]
    first, last = (after + 1, after + len(shown)) if shown else (None, None)
    return Page(data=shown, first_id=first, last_id=last, has_more=len(items) > limit)

"""/v1/projects: tenants and their quotas, for operators; /v1/usage: what the caller's project has used of its own."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from api.answers import Keyed
from api.callers import OPERATOR, READ
from api.paging import cut
from api.routes.preferences import Strict
from api.services import NamePaging, Page, Use
from api.store.keys import Project
from api.store.usage import period_of
from solon.records import Record
from solon.settings import ProjectId, Quota

router = APIRouter(prefix="/v1", tags=["access"], route_class=Keyed)

Id = Annotated[str, Path(alias="id", pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class ProjectIn(Strict):
    """A project to make."""

    id: ProjectId
    quota: Quota | None = None
    """Null: that of the settings."""


class QuotaIn(Strict):
    """What a project may use."""

    quota: Annotated[Quota | None, Field()]
    """Replaces the one that it has; null: that of the settings."""


class Used(Record):
    """How much of one limit is used."""

    used: float
    limit: float | None
    """Null: without limit."""
    period: str | None
    """The minute, day or month of UTC that is counted."""
    reset_s: float | None
    """Seconds until the next period."""


class ProjectUsage(Record):
    """What a project has used."""

    object: Literal["usage"] = "usage"
    project: str
    limits: dict[str, Used]
    """By name, as in the quota."""


@router.post("/projects", status_code=201, dependencies=[OPERATOR])
async def create_project(body: ProjectIn, services: Use, response: Response) -> Project:
    """Make a project."""
    made = await asyncio.to_thread(services.keys.create_project, body.id, body.quota)
    response.headers["Location"] = f"/v1/projects/{made.id}"
    return made


@router.get("/projects", dependencies=[OPERATOR])
async def list_projects(services: Use, paging: Annotated[NamePaging, Query()]) -> Page[Project]:
    """All projects by id."""
    found = await asyncio.to_thread(services.keys.projects)
    return cut(sorted(found, key=lambda project: project.id), paging, lambda project: project.id)


@router.get("/projects/{id}", dependencies=[OPERATOR])
async def get_project(project: Id, services: Use) -> Project:
    """One project."""
    return await asyncio.to_thread(services.keys.project, project)


@router.put("/projects/{id}/quota", dependencies=[OPERATOR])
async def put_quota(project: Id, body: QuotaIn, services: Use) -> Project:
    """Set what a project may use; servers notice within seconds."""
    return await asyncio.to_thread(services.keys.set_quota, project, body.quota)


@router.get("/projects/{id}/usage", dependencies=[OPERATOR])
async def get_project_usage(project: Id, services: Use) -> ProjectUsage:
    """What a project has used in the current periods."""
    await asyncio.to_thread(services.keys.project, project)
    await services.quotas.tally.write()
    return await asyncio.to_thread(_usage, project, services)


@router.get("/usage", dependencies=[READ])
async def get_usage(services: Use) -> ProjectUsage:
    """What the caller's project has used in the current periods."""
    await services.quotas.tally.write()
    return await asyncio.to_thread(_usage, services.project, services)


def _usage(project: str, services: Use) -> ProjectUsage:
    quota, used = services.usage.quota(project), services.usage.used(project)
    limits = {
        what: Used(
            used=used.get(what, 0.0),
            limit=getattr(quota, what),
            period=period_of(what).name or None,
            reset_s=period_of(what).left_s,
        )
        for what in Quota.model_fields
    }
    return ProjectUsage(project=project, limits=limits)

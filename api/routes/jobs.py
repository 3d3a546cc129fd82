"""/v1/jobs: self-alignment jobs are submitted, listed, paused, resumed and cancelled."""

import hashlib
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from pydantic import ConfigDict, Field, StringConstraints

from api.callers import READ, TRAIN
from api.judging import check_marks
from api.lifecycle import JobStatus, Wish
from api.metadata_query import ByMetadata
from api.prompts import split_of
from api.recipe_files import files_named, is_file_id, prompts_named
from api.recipes import Recipe
from api.rollouts import check_rollouts
from api.routes.preferences import Strict
from api.services import Page, Paging, Use
from api.store.jobs import DEFAULT_PRIORITY, ConstitutionOf, Job
from constitution.digest import content_hash
from constitution.weighting import weighted
from solon.errors import InvalidInput, NotFound

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^=\x00]+$")]
MetadataValue = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00]*$")]


class JobRequest(Strict):
    """What to do."""

    recipe: Recipe
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict)
    """The client's own keys and values, by which jobs can be listed."""
    priority: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_PRIORITY
    """Smaller ones go first."""


IdempotencyKey = Annotated[str | None, Header(), StringConstraints(min_length=1, max_length=255)]


@router.post("", dependencies=[TRAIN], status_code=202)
def create_job(request: JobRequest, services: Use, idempotency_key: IdempotencyKey = None) -> Job:
    """Queue a job; the same Idempotency-Key and body give the same job, however often they are sent."""
    recipe = request.recipe
    _check(recipe, services)
    # A label may move, and a new version may come, before the job's turn: it gets the text that is meant now.
    pinned = services.constitutions.library.pinned(recipe.constitution)
    text = services.constitutions.library.load(pinned)
    return services.jobs.create(
        recipe.model_dump(mode="json") | {"constitution": pinned},
        max_queued=services.settings.limits.queued_jobs,
        max_of_project=services.usage.quota(services.project).queued_jobs,
        request_hash=hashlib.sha256(request.model_dump_json().encode()).hexdigest(),
        idempotency_key=idempotency_key,
        constitution=ConstitutionOf(id=text.id, version=text.version, content_hash=content_hash(text)),
        metadata=request.metadata,
        priority=request.priority,
        project=services.project,
    )


def _check(recipe: Recipe, services: Use) -> None:
    """Refuse what would fail later: files of the client, unknown names."""
    if named := files_named(recipe):
        raise InvalidInput(
            "a recipe sent to a server names no files",
            field=f"recipe.{named[0]}",
            remedy="use builtin:agora/train, an uploaded file's id, and a published constitution",
        )
    for field, reference in prompts_named(recipe):
        if is_file_id(reference):
            _require_prompts(reference, f"recipe.{field}", services)
        else:
            split_of(reference, f"recipe.{field}")
    weighted(services.constitutions.library.load(recipe.constitution), recipe.weights)
    services.settings.model(recipe.policy, "policy")
    check_rollouts(recipe, services.settings)
    check_marks(recipe, services.settings)
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


class JobFilter(ByMetadata, Paging):
    """Which jobs to list."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    status: Annotated[list[JobStatus], Query(max_length=8)] = Field(default_factory=list[JobStatus])
    """May be repeated."""
    constitution: Annotated[str | None, Query(max_length=120)] = None
    """Id, or id@version."""
    metadata: Annotated[list[Annotated[str, StringConstraints(max_length=600)]], Query(max_length=16)] = Field(
        default_factory=list[str]
    )
    """KEY=VALUE; may be repeated, and all must hold. `metadata[KEY]=VALUE` says the same."""


@router.get("", dependencies=[READ])
def list_jobs(services: Use, wanted: Annotated[JobFilter, Query()]) -> Page[Job]:
    """Jobs, newest first unless `order` says otherwise."""
    jobs, more = services.jobs.page(
        after=wanted.after,
        limit=wanted.limit,
        order=wanted.order,
        statuses=wanted.status,
        constitution=wanted.constitution,
        metadata=_pairs(wanted.metadata) | wanted.entries(),
        project=services.project,
    )
    return Page(data=jobs, first_id=jobs[0].id if jobs else None, last_id=jobs[-1].id if jobs else None, has_more=more)


def _pairs(metadata: Sequence[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in metadata]
    if not all(key and sign for key, sign, _ in pairs):
        raise InvalidInput("not KEY=VALUE", field="metadata", remedy="such as metadata=team=red")
    return {key: value for key, _, value in pairs}


def found_job(job_id: str, services: Use) -> Job:
    """The job of the caller's project."""
    return services.jobs.get(job_id, project=services.project)


Found = Annotated[Job, Depends(found_job)]
"""A route's parameter that gets the job of its path."""


@router.get("/{job_id}", dependencies=[READ])
def get_job(job: Found) -> Job:
    """One job."""
    return job


@router.post("/{job_id}/cancel", dependencies=[TRAIN])
def cancel_job(job_id: str, services: Use) -> Job:
    """Ask a job to stop for good; a finished one is returned unchanged."""
    return services.jobs.wish(job_id, Wish.CANCEL, project=services.project)


@router.post("/{job_id}/pause", dependencies=[TRAIN])
def pause_job(job_id: str, services: Use) -> Job:
    """Ask a job to pause: what is finished is kept, and a training goes on from its last checkpoint."""
    return services.jobs.wish(job_id, Wish.PAUSE, project=services.project)


@router.post("/{job_id}/resume", dependencies=[TRAIN])
def resume_job(job_id: str, services: Use) -> Job:
    """Queue a paused or failed job again; it goes on where it was, and pays for nothing twice."""
    return services.jobs.wish(job_id, Wish.RESUME, project=services.project)

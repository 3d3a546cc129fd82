"""/v1/fine_tuning/jobs: the jobs in OpenAI's shape, to be read by programs that know it. They are made at /v1/jobs."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from api.callers import READ
from api.metadata_query import BY_METADATA, ByMetadata
from api.paging import listed
from api.services import Page, Paging, Use
from api.store.jobs import Job

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["jobs"])

_STATUSES = {"pausing": "running", "paused": "queued", "cancelling": "running"}
"""Ours that OpenAI's programs do not know."""


class FineTuningError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class FineTuningJob(BaseModel):
    """A job as OpenAI describes one; what has no counterpart is null or empty."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    id: str
    created_at: int
    finished_at: int | None
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
    model: str
    """The policy that the job began with."""
    fine_tuned_model: str | None
    """Id of the model that its last training made, as GET /v1/models has it."""
    error: FineTuningError | None
    hyperparameters: dict[str, Any]
    """The last training step of the recipe."""
    organization_id: str
    result_files: list[str]
    seed: int
    trained_tokens: int | None
    training_file: str
    """The recipe's training prompts."""
    validation_file: str | None


class FineTuningQuery(ByMetadata, Paging):
    """Which jobs, and which page of them."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


@router.get("", dependencies=[READ], openapi_extra=BY_METADATA)
def list_fine_tuning_jobs(services: Use, wanted: Annotated[FineTuningQuery, Query()]) -> Page[FineTuningJob]:
    """Jobs in OpenAI's shape, newest first unless `order` says otherwise."""
    jobs, more = services.jobs.page(
        after=wanted.after,
        limit=wanted.limit,
        order=wanted.order,
        metadata=wanted.entries(),
        project=services.project,
    )
    return listed([_shown(job) for job in jobs], more)


@router.get("/{id}", dependencies=[READ])
def get_fine_tuning_job(job: Annotated[str, Path(alias="id", max_length=100)], services: Use) -> FineTuningJob:
    """One job in OpenAI's shape."""
    return _shown(services.jobs.get(job, project=services.project))


def _shown(job: Job) -> FineTuningJob:
    steps: list[dict[str, Any]] = job.recipe.get("steps", [])
    trained = [
        (f"{job.id}.{number:02d}-{step['type']}", step)
        for number, step in enumerate(steps, start=1)
        if step["type"] not in _NO_TRAINING
    ]
    done = job.status == "succeeded" and bool(trained)
    error = job.error or {}
    prompts = job.recipe.get("prompts", {})
    return FineTuningJob.model_validate(
        {
            "id": job.id,
            "created_at": int(job.created_at),
            "finished_at": int(job.finished_at) if job.finished_at is not None else None,
            "status": _STATUSES.get(job.status.value, job.status.value),
            "model": job.recipe.get("policy", ""),
            "fine_tuned_model": trained[-1][0] if done else None,
            "error": {"code": "failed", "message": error.get("message", ""), "param": error.get("field")}
            if job.status == "failed"
            else None,
            "hyperparameters": trained[-1][1] if trained else {},
            "organization_id": job.project,
            "result_files": [],
            "seed": job.recipe.get("seed", 0),
            "trained_tokens": None,
            "training_file": prompts.get("train", ""),
            "validation_file": prompts.get("eval"),
        }
    )


_NO_TRAINING = frozenset(
    {"label", "critique_revision", "evaluate", "best_of_n", "promote", "condition", "evaluate_profiles"}
)
"""Types of steps that make no model."""

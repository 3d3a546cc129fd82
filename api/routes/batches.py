"""POST /v1/preferences/batches: a long list, or an uploaded file, labelled by a job."""

import asyncio
import hashlib
import json
import secrets
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import Field, StringConstraints

from api.answers import Keyed
from api.callers import LABEL
from api.judging import check_judge
from api.named_files import located
from api.recipes import Recipe
from api.routes.jobs import MetadataKey, MetadataValue
from api.routes.preferences import Labelling, PromptIn, check_row, rows_of
from api.services import Services, Use
from api.store.artifacts import open_artifacts
from api.store.files import Upload, content_name, new_file_id
from api.store.jobs import DEFAULT_PRIORITY, ConstitutionOf, Job
from constitution.digest import content_hash
from constitution.document import Constitution
from constitution.weighting import weighted
from solon.errors import InvalidInput
from solon.rows import read_rows

router = APIRouter(prefix="/v1/preferences/batches", tags=["preferences"], route_class=Keyed)

MOST_ROWS = 100_000
"""In a body; a file may have more."""


class BatchIn(Labelling):
    """Prompts to label by a job: in the body, or in a file that was uploaded for `prompts`."""

    prompts: Annotated[list[PromptIn], Field(min_length=1)] | None = None
    file: Annotated[str, StringConstraints(pattern=r"^file_[0-9a-z]{26}$")] | None = None
    """One of `prompts` and `file` is given."""
    min_coverage: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the comparisons that must end `ok` or `tie`; below it the job fails."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict[str, str])
    """Of the job."""


@router.post("", status_code=202, dependencies=[LABEL])
async def create_batch(request: BatchIn, services: Use, response: Response) -> Job:
    """Queue a job that labels the prompts; its labels become a dataset, and are stored with the job as `source`."""
    job = await asyncio.to_thread(_create, request, services)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


def _create(request: BatchIn, services: Services) -> Job:
    if (request.prompts is None) == (request.file is None):
        raise InvalidInput("needs either prompts or a file", field="prompts", remedy="give one of `prompts` and `file`")
    pinned = services.constitutions.library.pinned(request.constitution)
    text = weighted(services.constitutions.library.load(pinned), request.weights)
    check_judge(request.judge, text, services.settings)
    if request.policy is not None:
        services.settings.model(request.policy, "policy")
    file = request.file or _uploaded(request, text, services)
    if request.file is not None:
        _check_file(request, text, services)
    recipe = Recipe.model_validate(_recipe(request, pinned, file, services))
    return services.jobs.create(
        recipe.model_dump(mode="json"),
        max_queued=services.settings.limits.queued_jobs,
        constitution=ConstitutionOf(id=text.id, version=text.version, content_hash=content_hash(text)),
        metadata=request.metadata,
        priority=DEFAULT_PRIORITY,
        project=services.project,
    )


def _recipe(request: BatchIn, constitution: str, file: str, services: Services) -> dict[str, Any]:
    policies = [name for name, entry in services.settings.models.items() if entry.kind == "policy"]
    step = {"type": "label", "given": True, "candidates": request.n, "min_coverage": request.min_coverage}
    same = ("pairing", "schedule", "min_margin", "temperature", "max_tokens")
    return {
        "name": "batch",
        "constitution": constitution,
        "weights": request.weights,
        "policy": request.policy or next(iter(sorted(policies)), "starter"),
        "judge": request.judge,
        "prompts": {"train": file},
        "seed": request.seed,
        "steps": [step | {name: getattr(request, name) for name in same}],
    }


def _uploaded(request: BatchIn, text: Constitution, services: Services) -> str:
    """The list as a file of the project, which the job reads."""
    prompts = request.prompts or []
    for index, row in enumerate(rows_of(prompts, MOST_ROWS)):
        check_row(row, f"prompts.{index}", text, request.policy)
    lines = [
        json.dumps({"id": f"prompt-{index}"} | prompt.model_dump(exclude_none=True), ensure_ascii=False)
        for index, prompt in enumerate(prompts)
    ]
    content = ("\n".join(lines) + "\n").encode()
    staged = services.settings.artifacts / "uploads" / secrets.token_hex(8)
    staged.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    upload = Upload(filename="batch.jsonl", purpose="prompts", bytes=len(content), sha256=digest, rows=len(lines))
    file_id = new_file_id()
    try:
        staged.write_bytes(content)
        open_artifacts(services.settings).put(content_name(file_id), staged)
    finally:
        staged.unlink(missing_ok=True)
    return services.files.create(file_id, upload, project=services.project, request_hash=digest).id


def _check_file(request: BatchIn, text: Constitution, services: Services) -> None:
    """Raises where the file is none of the project's, is for something else, or has rows that cannot be labelled."""
    file = services.files.get(str(request.file), project=services.project)
    if file.purpose != "prompts":
        raise InvalidInput("this file holds no prompts", field="file", remedy="upload it with purpose=prompts")
    for number, row in enumerate(read_rows(Path(located(file.id, services.settings))), start=1):
        check_row(row, f"file:{number}", text, request.policy)

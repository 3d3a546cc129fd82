"""/v1/datasets: the preference pairs that jobs have labelled, their cards, and exports for other programs."""

import asyncio
import tempfile
from pathlib import Path as File
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask

from api.answers import Keyed
from api.callers import READ
from api.dataset_cards import write_card
from api.services import Page, Paging, Services, Use
from critic.exchange.files import ExportFormat, export_pairs
from solon.datasets import Manifest, read_manifest, read_pairs
from solon.errors import NotFound

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=Keyed)

_FILES = ("pairs.jsonl", "critiques.pairs.jsonl")
_JOB = "job_"

Id = Annotated[str, Path(pattern=r"^ds_[0-9a-z]{26}_[0-9]{2}$")]


class Dataset(BaseModel):
    """Pairs that a step of a job has written."""

    object: Literal["dataset"] = "dataset"
    id: str
    """Sorts by the job's time, then by the step."""
    job: str
    step: str
    manifest: Manifest


@router.get("", dependencies=[READ])
async def list_datasets(services: Use, paging: Annotated[Paging, Query()]) -> Page[Dataset]:
    """Datasets of finished steps, newest first unless `order` says otherwise."""
    return await asyncio.to_thread(_page, services, paging)


@router.get("/{id}", dependencies=[READ])
async def get_dataset(name: Annotated[Id, Path(alias="id")], services: Use) -> Dataset:
    """One dataset with its manifest."""
    return await asyncio.to_thread(lambda: _described(_found(name, services)))


@router.get("/{id}/card", dependencies=[READ], response_class=PlainTextResponse)
async def get_card(name: Annotated[Id, Path(alias="id")], services: Use) -> PlainTextResponse:
    """The dataset's card in Markdown."""
    path = await asyncio.to_thread(lambda: write_card(_found(name, services)))
    text = await asyncio.to_thread(path.read_text, encoding="utf-8")
    return PlainTextResponse(text, media_type="text/markdown; charset=utf-8")


@router.get("/{id}/export", dependencies=[READ], response_class=FileResponse)
async def export_dataset(
    name: Annotated[Id, Path(alias="id")],
    services: Use,
    form: Annotated[ExportFormat, Query(alias="format")] = "trl_preference",
    container: Literal["jsonl", "parquet"] = "jsonl",
) -> FileResponse:
    """The usable pairs for another program; quarantined and failed ones never. Headers say how many were left out."""
    with services.gate.enter():
        path, left_out = await asyncio.to_thread(_exported, _found(name, services), form, container)
    suffix = "json" if form == "annotated_pairs" else container
    return FileResponse(
        path,
        media_type="application/vnd.apache.parquet" if suffix == "parquet" else "application/x-ndjson",
        filename=f"{name}.{form}.{suffix}",
        headers={"Solon-Left-Out": ", ".join(f"{why}={count}" for why, count in left_out.items()) or "none"},
        background=BackgroundTask(path.unlink, missing_ok=True),
    )


def _exported(dataset: File, form: ExportFormat, container: str) -> tuple[File, dict[str, int]]:
    """A file of its own, to be deleted after it was sent, and what is not in it."""
    with tempfile.NamedTemporaryFile(prefix="solon-export-", suffix=f".{container}", delete=False) as file:
        path = File(file.name)
    try:
        _, left_out = export_pairs(read_pairs(dataset), path, form)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, left_out


def _page(services: Services, paging: Paging) -> Page[Dataset]:
    names = sorted(_all(services), reverse=paging.order == "desc")
    if paging.after is not None:
        after = paging.after
        names = [each for each in names if (each < after if paging.order == "desc" else each > after)]
    shown = [_described(_found(each, services)) for each in names[: paging.limit]]
    ids = [each.id for each in shown]
    return Page(
        data=shown,
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=len(names) > paging.limit,
    )


def _all(services: Services) -> set[str]:
    """Ids of the datasets of all steps of the project's jobs that are done."""
    jobs = services.settings.artifacts / "jobs"
    found = (
        path
        for job in services.jobs.ids(project=services.project)
        for name in _FILES
        for path in jobs.glob(f"{job}/out/[0-9][0-9]-*/{name}")
    )
    return {_id(path) for path in found if _is_done(path)}


def _found(name: str, services: Services) -> File:
    _, job, number = name.split("_")
    if f"{_JOB}{job}" not in services.jobs.ids(project=services.project, job_id=f"{_JOB}{job}"):
        raise _no_dataset()
    folder = services.settings.artifacts / "jobs" / f"{_JOB}{job}" / "out"
    for path in (each for file in _FILES for each in folder.glob(f"{number}-*/{file}")):
        if _is_done(path):
            return path
    raise _no_dataset()


def _no_dataset() -> NotFound:
    return NotFound("there is no such dataset", field="id", remedy="list them: GET /v1/datasets")


def _is_done(path: File) -> bool:
    """Whether the step has ended; until then its files may still change."""
    return (path.parent / "step.json").exists()


def _id(path: File) -> str:
    job, step = path.parents[2].name, path.parent.name
    return f"ds_{job.removeprefix(_JOB)}_{step[:2]}"


def _described(path: File) -> Dataset:
    manifest = read_manifest(path, verify=False)
    return Dataset(id=_id(path), job=path.parents[2].name, step=path.parent.name, manifest=manifest)

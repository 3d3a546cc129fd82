"""/v1/datasets: preference pairs in files that never change, their cards, and exports for other programs."""

import asyncio
import tempfile
from itertools import chain, islice
from pathlib import Path as File
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.background import BackgroundTask

from api.answers import Keyed
from api.callers import LABEL, READ
from api.dataset_cards import write_card
from api.paging import NOT_MODIFIED, IfNoneMatch, answered, listed, matches, tags
from api.routes.dataset_sources import Dataset, Datasets
from api.routes.preferences import Strict
from api.services import Page, Paging, Services, Use
from api.store.preference_filter import Filter
from api.store.preferences import Stored
from critic.exchange.files import ExportFormat, export_pairs
from solon.datasets import read_discards, read_pairs
from solon.errors import InvalidInput
from solon.formats import text_lines
from solon.records import PreferencePair, Record

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=Keyed)

Id = Annotated[str, Path(alias="id", pattern=r"^ds_[0-9a-z]{26}(_[0-9]{2})?$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$")]


class DatasetIn(Strict):
    """Stored preferences to make a dataset of."""

    name: Name
    filter: Annotated[Filter, Field(default_factory=Filter)]
    """Which ones; nothing given takes all. Exports leave out what cannot be trained on, whatever the filter says."""
    votes: bool = True
    """Whether people's verdicts are in it; agreement with them is in its card."""
    licence: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+-]{0,60}$")] | None = None
    """Of the texts, such as CC-BY-4.0."""


class RowPaging(BaseModel):
    """Which rows."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    after: Annotated[int, Query(ge=0, le=10**12)] = 0
    """Cursor: the `last_id` of the page before; rows are numbered from 1."""
    limit: Annotated[int, Query(ge=1, le=100)] = 20
    order: Literal["asc"] = "asc"


class StoredFrom(Record):
    """What became of a dataset's pairs when they were stored."""

    object: Literal["dataset.stored"] = "dataset.stored"
    dataset: str
    new: int
    changed: int
    """Came out differently than before: new versions."""
    unchanged: int
    discards: int


@router.get("", dependencies=[READ])
async def list_datasets(services: Use, paging: Annotated[Paging, Query()]) -> Page[Dataset]:
    """Datasets of finished steps and of stored preferences, newest first unless `order` says otherwise."""
    return await asyncio.to_thread(_page, Datasets(services), paging)


@router.post("", status_code=201, dependencies=[LABEL])
async def create_dataset(request: DatasetIn, services: Use, response: Response) -> Dataset:
    """Make a dataset of the stored preferences that the filter lets through, as they are now."""
    with services.gate.enter():
        made = await asyncio.to_thread(
            Datasets(services).make, request.name, request.filter, votes=request.votes, licence=request.licence
        )
    response.headers["Location"] = f"{router.prefix}/{made.id}"
    return made


@router.get("/{id}", response_model=Dataset, responses=NOT_MODIFIED, dependencies=[READ])
async def get_dataset(name: Id, services: Use, if_none_match: IfNoneMatch = None) -> Response:
    """One dataset with its manifest."""
    found = await asyncio.to_thread(Datasets(services).get, name)
    return answered(found, if_none_match, immutable=True)


@router.get("/{id}/pairs", dependencies=[READ])
async def list_pairs(name: Id, services: Use, paging: Annotated[RowPaging, Query()]) -> Page[PreferencePair]:
    """The pairs of a dataset in its order; the cursor is a row's number."""
    path = await asyncio.to_thread(Datasets(services).path, name)
    return await asyncio.to_thread(_pairs, path, paging)


@router.post("/{id}/store", dependencies=[LABEL])
async def store_dataset(name: Id, services: Use) -> StoredFrom:
    """Store the pairs and discards of a dataset, so that they are listed and can be reviewed."""
    with services.gate.enter():
        stored = await asyncio.to_thread(_store, name, services)
    return StoredFrom(dataset=name, **vars(stored))


@router.get(
    "/{id}/card",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}, **NOT_MODIFIED},
    dependencies=[READ],
)
async def get_card(name: Id, services: Use, if_none_match: IfNoneMatch = None) -> Response:
    """The dataset's card in Markdown."""
    found = await asyncio.to_thread(Datasets(services).get, name)
    headers = tags(f'"{found.manifest.sha256[:32]}.card"')
    if matches(headers["ETag"], if_none_match):
        return Response(status_code=304, headers=headers)
    path = await asyncio.to_thread(lambda: write_card(Datasets(services).path(name)))
    text = await asyncio.to_thread(path.read_text, encoding="utf-8")
    return Response(text, media_type="text/markdown; charset=utf-8", headers=headers)


@router.get(
    "/{id}/export",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "object"}},
                "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
            }
        },
        **NOT_MODIFIED,
    },
    dependencies=[READ],
)
async def export_dataset(
    name: Id,
    services: Use,
    form: Annotated[ExportFormat, Query(alias="format")] = "trl_preference",
    container: Literal["jsonl", "parquet"] = "jsonl",
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The usable pairs for another program; quarantined and failed ones never. Headers say how many were left out."""
    if form == "annotated_pairs" and container == "parquet":
        raise InvalidInput("annotated pairs are one JSON document", field="container", remedy="leave it out")
    found = await asyncio.to_thread(Datasets(services).get, name)
    headers = tags(f'"{found.manifest.sha256[:32]}.{form}.{container}"', immutable=True)
    if matches(headers["ETag"], if_none_match):
        return Response(status_code=304, headers=headers)
    with services.gate.enter():
        path, left_out = await asyncio.to_thread(_exported, Datasets(services).path(name), form, container)
    suffix = "json" if form == "annotated_pairs" else container
    kinds = {"json": "application/json", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
    headers["Solon-Left-Out"] = ", ".join(f"{why}={count}" for why, count in left_out.items()) or "none"
    return FileResponse(
        path,
        media_type=kinds[suffix],
        filename=f"{name}.{form}.{suffix}",
        headers=headers,
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


def _page(datasets: Datasets, paging: Paging) -> Page[Dataset]:
    names = datasets.ids()
    if paging.order == "desc":
        names.reverse()
    if paging.after is not None:
        after = paging.after
        names = [each for each in names if (each < after if paging.order == "desc" else each > after)]
    return listed([datasets.get(each) for each in names[: paging.limit]], len(names) > paging.limit)


def _pairs(path: File, paging: RowPaging) -> Page[PreferencePair]:
    """A page of the pairs; lines before it are passed over unread."""
    rows = islice((row for row in text_lines(path) if row[0] > paging.after), paging.limit + 1)
    found = [(number, PreferencePair.model_validate_json(line)) for number, line in rows]
    shown = found[: paging.limit]
    first, last = (shown[0][0], shown[-1][0]) if shown else (None, None)
    return Page(data=[pair for _, pair in shown], first_id=first, last_id=last, has_more=len(found) > paging.limit)


def _store(name: str, services: Services) -> Stored:
    datasets = Datasets(services)
    path = datasets.path(name)
    found = datasets.get(name)
    source = f"{found.job}.{found.step}" if found.job is not None else name
    store, project = services.preferences, services.project
    store.forget_discards(project=project, source=source)  # they come again
    return store.add(chain(read_pairs(path), read_discards(path)), project=project, source=source)

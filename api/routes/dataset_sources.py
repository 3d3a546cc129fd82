"""Datasets there are: those that steps of jobs have written, and those that were made of stored preferences.

ARTIFACTS/jobs/JOB/out/NN-label/pairs.jsonl      ds_<the job's letters>_NN
ARTIFACTS/datasets/ID/pairs.jsonl                ds_<26 letters>
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.dataset_cards import LICENCE, write_card
from api.ids import new_id
from api.published import DATASET, Published
from api.routes.stored_preferences import reviewed_pair
from api.services import Services
from api.store.preference_filter import Filter
from api.store.preference_tables import DatasetRow
from solon.datasets import Manifest, PairWriter, read_manifest
from solon.errors import InvalidInput, NotFound
from solon.records import PreferencePair

_FILES = ("pairs.jsonl", "critiques.pairs.jsonl")
_JOB = "job_"


class Dataset(BaseModel):
    """Preference pairs in a file that never changes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["dataset"] = "dataset"
    id: str
    """Sorts by time; of a job's datasets by the job's time, then by the step."""
    name: str
    job: str | None = None
    """That labelled it; None where it was made of stored preferences."""
    step: str | None = None
    filter: dict[str, Any] | None = None
    """What the stored preferences were narrowed by."""
    created_at: float
    manifest: Manifest


class Datasets:
    """The datasets that the caller's project sees. Methods block."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._artifacts = services.settings.artifacts
        self._published = Published(services.settings)

    def ids(self) -> list[str]:
        """All of them, sorted."""
        return sorted({*self._of_jobs(), *self._made()})

    def path(self, name: str) -> Path:
        """Where the pairs are; raises NotFound."""
        path = self._job_path(name) if name.count("_") == 2 else self._made_path(name)
        if path is None:
            raise NotFound("there is no such dataset", field="id", remedy="list them: GET /v1/datasets")
        return path

    def get(self, name: str) -> Dataset:
        """The dataset with its manifest; raises NotFound."""
        path = self.path(name)
        if name.count("_") == 2:
            job, step = path.parents[2].name, path.parent.name
            written = (path.parent / "step.json").stat().st_mtime
            manifest = read_manifest(path, verify=False)
            title = str(manifest.about.get("recipe", job))
            return Dataset(id=name, name=title, job=job, step=step, created_at=written, manifest=manifest)
        with Session(self._services.database) as session:
            row = session.get_one(DatasetRow, name)
            manifest = Manifest.model_validate(row.manifest)
            return Dataset(id=name, name=row.name, filter=row.filter, created_at=row.created_at, manifest=manifest)

    def make(self, name: str, wanted: Filter, *, votes: bool = True, licence: str | None = None) -> Dataset:
        """A dataset of the stored preferences that the filter lets through, as they are now, with its card.

        Args:
            votes: whether people's verdicts are in it, beside those that came with the rows.

        Raises InvalidInput where there are none.
        """
        services = self._services
        if not services.preferences.count(wanted, project=services.project):
            raise InvalidInput("lets no preference through", field="filter", remedy="look: GET /v1/preferences")
        made, criteria = new_id("ds"), wanted.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        folder = self._artifacts / "datasets" / made
        about: dict[str, Any] = {"dataset": name, "filter": criteria} | ({LICENCE: licence} if licence else {})
        try:
            with PairWriter(folder / "pairs.jsonl", about=about) as writer:
                for pair in self._stored(wanted, votes):
                    writer.write(pair)
                manifest = writer.commit()
            write_card(folder / "pairs.jsonl", licence=licence)
            self._published.publish(folder, DATASET)
            values = {"id": made, "project": services.project, "name": name, "created_at": time.time()}
            with Session(services.database) as session, session.begin():
                session.add(DatasetRow(**values, filter=criteria, manifest=manifest.model_dump(mode="json")))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self.get(made)

    def _stored(self, wanted: Filter, votes: bool) -> Iterator[PreferencePair]:
        for stored in self._services.preferences.each(wanted, project=self._services.project):
            yield reviewed_pair(stored, self._services) if votes else stored.pair()

    def _made(self) -> list[str]:
        query = select(DatasetRow.id).where(DatasetRow.project == self._services.project)
        with Session(self._services.database) as session:
            return list(session.scalars(query))

    def _made_path(self, name: str) -> Path | None:
        query = select(DatasetRow.id).where(DatasetRow.project == self._services.project, DatasetRow.id == name)
        with Session(self._services.database) as session:
            found = session.scalar(query)
        if found is None:
            return None
        self._published.bring(f"datasets/{found}", DATASET)
        return self._artifacts / "datasets" / found / "pairs.jsonl"

    def _of_jobs(self) -> set[str]:
        self._published.bring("jobs")
        found = (
            path
            for job in self._services.jobs.ids(project=self._services.project)
            for file in _FILES
            for path in (self._artifacts / "jobs").glob(f"{job}/out/[0-9][0-9]-*/{file}")
        )
        return {_id(path) for path in found if _is_done(path)}

    def _job_path(self, name: str) -> Path | None:
        _, letters, number = name.split("_")
        job = f"{_JOB}{letters}"
        if job not in self._services.jobs.ids(project=self._services.project, job_id=job):
            return None
        self._published.bring(f"jobs/{job}")
        folder = self._artifacts / "jobs" / job / "out"
        found = (each for file in _FILES for each in folder.glob(f"{number}-*/{file}"))
        return next((path for path in found if _is_done(path)), None)


def _is_done(path: Path) -> bool:
    """Whether the step has ended; until then its files may still change."""
    return (path.parent / "step.json").exists()


def _id(path: Path) -> str:
    return f"ds_{path.parents[2].name.removeprefix(_JOB)}_{path.parent.name[:2]}"

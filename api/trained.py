"""Models that jobs have trained: where they are, what made them, and whether an evaluation speaks for them.

ARTIFACTS/jobs/JOB/out/NN-dpo/step.json     the model's id is JOB.NN-dpo
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.published import Published
from api.services import Services
from solon.errors import NotFound
from solon.settings import Kind, holds_model


@dataclass(frozen=True)
class Trained:
    """A model that a step of a job has trained."""

    id: str
    job: str
    step: str
    kind: Kind
    path: Path
    digest: str
    created_at: float
    """Unix time in seconds."""
    record: dict[str, Any]
    """What `step.json` says: the step, digests of its inputs, its result."""


@dataclass(frozen=True)
class Evaluation:
    """What an `evaluate` step of the same job says of a model, against the policy that the job began with."""

    step: str
    win_rate: dict[str, Any] | None
    """value, low, high, n."""
    flags: tuple[str, ...]
    """Signs of reward hacking and the like."""

    @property
    def passed(self) -> bool:
        """Whether it beats its start beyond doubt, and nothing is suspicious."""
        return self.win_rate is not None and self.win_rate["low"] > 0.5 and not self.flags


class TrainedModels:
    """The trained models that the caller's project sees. Methods block."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.settings.artifacts / "jobs"
        self._published = Published(services.settings)

    def all(self) -> list[Trained]:
        """All of them, oldest job first."""
        self._published.bring("jobs")
        jobs = sorted(self._services.jobs.ids(project=self._services.project))
        return [found for job in jobs for found in self._of(job)]

    def get(self, name: str) -> Trained:
        """The model; raises NotFound."""
        job = name.partition(".")[0]
        known = self._services.jobs.ids(project=self._services.project, job_id=job)
        if job in known:
            self._published.bring(f"jobs/{job}")
        for found in self._of(job) if job in known else ():
            if found.id == name:
                return found
        raise NotFound("there is no such model", field="id", remedy="GET /v1/models lists them")

    def evaluation(self, model: Trained) -> Evaluation | None:
        """The latest evaluation of exactly this model; None where there is none."""
        found = None
        for step, record in self._records(model.job):
            if record["step"]["type"] == "evaluate" and record["inputs"].get("model") == model.digest:
                result = record["result"]
                found = Evaluation(step.name, result.get("win_rate"), tuple(result.get("flags") or ()))
        return found

    def _of(self, job: str) -> Iterator[Trained]:
        for step, record in self._records(job):
            for output, made in record["outputs"].items():
                kind = _kind(record["step"]["type"], output)
                path = step / made["path"]
                if kind is None or not holds_model(path):
                    continue
                name = f"{job}.{step.name}" if output in ("model", "reward_model") else f"{job}.{step.name}.{output}"
                written = (step / "step.json").stat().st_mtime
                yield Trained(name, job, step.name, kind, path, made["digest"], written, record)

    def _records(self, job: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folders and records of the job's finished steps, in order."""
        for path in sorted((self._jobs / job / "out").glob("[0-9]*-*/step.json")):
            try:
                yield path.parent, json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # being written


def _kind(step: str, output: str) -> Kind | None:
    """What the output of a step is a model for; None where it is none, or only a control."""
    if step == "reward_model":
        return "reward"
    return "policy" if output == "model" else None

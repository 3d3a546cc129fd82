"""The requests that a client may send, a function for each; `Service` and `AsyncService` send them.

    service.send(calls.label([{"prompt": "Hello?"}], constitution="civic", judge="starter-judge"))

Those about keys, projects, changes and webhooks are in `api.access_calls`. What is not answered with JSON has none:
the probes, metrics, a dataset's card and export, a file's content, a job's stream.
"""

import uuid
from dataclasses import replace
from typing import Any

from api.recipes import Recipe
from api.routes.constitutions import YAML, Card
from api.routes.constitutions import Published as PublishedText
from api.routes.critiques import Revised
from api.routes.dataset_sources import Dataset
from api.routes.datasets import StoredFrom
from api.routes.drafts import DraftText, Validation
from api.routes.files import DeletedFile
from api.routes.models import ModelCard, ModelDetail, PromotionCard
from api.routes.preferences import Labelled
from api.routes.rewards import Rewarded
from api.routes.stored_preferences import AgreementReport, PreferenceDetail
from api.routes.trials import Relabelled
from api.sending import Call, Json, at, get, post
from api.services import Page
from api.store.audits import StoredAudit
from api.store.files import StoredFile
from api.store.jobs import Job, JobEvent, MetricPoint, TrainingCheckpoint
from api.store.preferences import StoredDiscard, StoredPreference
from api.store.reviews import Review
from constitution.differences import Comparison
from constitution.store import Draft, Happening, Label, Version
from critic.case_testing import CaseReport
from critic.preview import Preview
from solon.records import PreferencePair


def label(prompts: list[Json], *, key: str | None = None, **request: Any) -> Call[Labelled]:
    """POST /v1/preferences."""
    return post("/v1/preferences", Labelled, {"prompts": prompts} | request, key)


def preferences(**query: Any) -> Call[Page[StoredPreference]]:
    """GET /v1/preferences; `metadata` is a mapping."""
    entries = {f"metadata[{name}]": value for name, value in query.pop("metadata", {}).items()}
    return get("/v1/preferences", Page[StoredPreference], **query, **entries)


def preference(preference_id: str, version: int | None = None) -> Call[PreferenceDetail]:
    """GET /v1/preferences/{id}."""
    return get(at("/v1/preferences/{preference}", preference=preference_id), PreferenceDetail, version=version)


def review(preference_id: str, verdict: str, **more: Any) -> Call[Review]:
    """POST /v1/preferences/{id}/reviews."""
    return post(
        at("/v1/preferences/{preference}/reviews", preference=preference_id), Review, {"verdict": verdict} | more
    )


def reviews(preference_id: str, **query: Any) -> Call[Page[Review]]:
    """GET /v1/preferences/{id}/reviews."""
    return get(at("/v1/preferences/{preference}/reviews", preference=preference_id), Page[Review], **query)


def agreement(**query: Any) -> Call[AgreementReport]:
    """GET /v1/preferences/agreement."""
    return get("/v1/preferences/agreement", AgreementReport, **query)


def relabel(ids: list[str], constitution: str, judge: str | None = None) -> Call[Relabelled]:
    """POST /v1/preferences/relabel."""
    body = {"ids": ids, "constitution": constitution, "judge": judge}
    return post("/v1/preferences/relabel", Relabelled, body)


def critique(prompts: list[Json], **request: Any) -> Call[Revised]:
    """POST /v1/critiques."""
    return post("/v1/critiques", Revised, {"prompts": prompts} | request)


def create_dataset(name: str, **request: Any) -> Call[Dataset]:
    """POST /v1/datasets."""
    return post("/v1/datasets", Dataset, {"name": name} | request)


def datasets(**query: Any) -> Call[Page[Dataset]]:
    """GET /v1/datasets."""
    return get("/v1/datasets", Page[Dataset], **query)


def dataset(dataset_id: str) -> Call[Dataset]:
    """GET /v1/datasets/{id}."""
    return get(at("/v1/datasets/{dataset}", dataset=dataset_id), Dataset)


def store_dataset(dataset_id: str) -> Call[StoredFrom]:
    """POST /v1/datasets/{id}/store."""
    return post(at("/v1/datasets/{dataset}/store", dataset=dataset_id), StoredFrom)


def constitutions(**query: Any) -> Call[Page[Card]]:
    """GET /v1/constitutions."""
    return get("/v1/constitutions", Page[Card], **query)


def models(**query: Any) -> Call[Page[ModelCard]]:
    """GET /v1/models."""
    return get("/v1/models", Page[ModelCard], **query)


def model(model_id: str) -> Call[ModelDetail]:
    """GET /v1/models/{id}."""
    return get(at("/v1/models/{model}", model=model_id), ModelDetail)


def promote(model_id: str, name: str, *, force: bool = False, reason: str = "") -> Call[PromotionCard]:
    """POST /v1/models/{id}/promote."""
    return post(
        at("/v1/models/{model}/promote", model=model_id),
        PromotionCard,
        {"name": name, "force": force, "reason": reason},
    )


def audit(**request: Any) -> Call[StoredAudit]:
    """POST /v1/audits."""
    return post("/v1/audits", StoredAudit, request)


def find_audit(audit_id: str) -> Call[StoredAudit]:
    """GET /v1/audits/{id}."""
    return get(at("/v1/audits/{audit}", audit=audit_id), StoredAudit)


def submit(recipe: Recipe, key: str | None = None) -> Call[Job]:
    """POST /v1/jobs."""
    return post("/v1/jobs", Job, {"recipe": recipe.model_dump(mode="json")}, key)


def jobs(**query: Any) -> Call[Page[Job]]:
    """GET /v1/jobs; `metadata` is a list of KEY=VALUE."""
    return get("/v1/jobs", Page[Job], **query)


def job(job_id: str) -> Call[Job]:
    """GET /v1/jobs/{id}."""
    return get(at("/v1/jobs/{job}", job=job_id), Job)


def wish(job_id: str, verb: str) -> Call[Job]:
    """POST /v1/jobs/{id}/cancel, POST /v1/jobs/{id}/pause, POST /v1/jobs/{id}/resume."""
    return post(at("/v1/jobs/{job}/{verb}", job=job_id, verb=verb), Job)


def events(job_id: str, **query: Any) -> Call[Page[JobEvent]]:
    """GET /v1/jobs/{id}/events."""
    return get(at("/v1/jobs/{job}/events", job=job_id), Page[JobEvent], **query)


def metrics(job_id: str, **query: Any) -> Call[Page[MetricPoint]]:
    """GET /v1/jobs/{id}/metrics."""
    return get(at("/v1/jobs/{job}/metrics", job=job_id), Page[MetricPoint], **query)


def checkpoints(job_id: str, **query: Any) -> Call[Page[TrainingCheckpoint]]:
    """GET /v1/jobs/{id}/checkpoints."""
    return get(at("/v1/jobs/{job}/checkpoints", job=job_id), Page[TrainingCheckpoint], **query)


def batch(key: str | None = None, **request: Any) -> Call[Job]:
    """POST /v1/preferences/batches."""
    return post("/v1/preferences/batches", Job, request, key)


def reweight(pairs: list[Json], **request: Any) -> Call[Labelled]:
    """POST /v1/preferences/reweight."""
    return post("/v1/preferences/reweight", Labelled, {"pairs": pairs} | request)


def discards(**query: Any) -> Call[Page[StoredDiscard]]:
    """GET /v1/preferences/discards."""
    return get("/v1/preferences/discards", Page[StoredDiscard], **query)


def rewards(prompts: list[Json], **request: Any) -> Call[Page[Rewarded]]:
    """POST /v1/rewards."""
    return post("/v1/rewards", Page[Rewarded], {"prompts": prompts} | request)


def dataset_pairs(dataset_id: str, **query: Any) -> Call[Page[PreferencePair]]:
    """GET /v1/datasets/{id}/pairs."""
    return get(at("/v1/datasets/{dataset}/pairs", dataset=dataset_id), Page[PreferencePair], **query)


def audits(**query: Any) -> Call[Page[StoredAudit]]:
    """GET /v1/audits."""
    return get("/v1/audits", Page[StoredAudit], **query)


def upload(filename: str, content: bytes, purpose: str, key: str | None = None) -> Call[StoredFile]:
    """POST /v1/files."""
    form = {"data": {"purpose": purpose}, "files": {"file": (filename, content)}}
    return Call("POST", "/v1/files", StoredFile, key=key or str(uuid.uuid4()), form=form)


def files(**query: Any) -> Call[Page[StoredFile]]:
    """GET /v1/files."""
    return get("/v1/files", Page[StoredFile], **query)


def file(file_id: str) -> Call[StoredFile]:
    """GET /v1/files/{id}."""
    return get(at("/v1/files/{file}", file=file_id), StoredFile)


def delete_file(file_id: str) -> Call[DeletedFile]:
    """DELETE /v1/files/{id}."""
    return Call("DELETE", at("/v1/files/{file}", file=file_id), DeletedFile)


def constitution(name: str, **query: Any) -> Call[PublishedText]:
    """GET /v1/constitutions/{id}."""
    return get(at("/v1/constitutions/{id}", id=name), PublishedText, **query)


def versions(name: str, **query: Any) -> Call[Page[Version]]:
    """GET /v1/constitutions/{id}/versions."""
    return get(at("/v1/constitutions/{id}/versions", id=name), Page[Version], **query)


def history(name: str, **query: Any) -> Call[Page[Happening]]:
    """GET /v1/constitutions/{id}/history."""
    return get(at("/v1/constitutions/{id}/history", id=name), Page[Happening], **query)


def diff(name: str, before: str, to: str) -> Call[Comparison]:
    """GET /v1/constitutions/{id}/diff."""
    return get(at("/v1/constitutions/{id}/diff", id=name), Comparison, **{"from": before, "to": to})


def labels(name: str, **query: Any) -> Call[Page[Label]]:
    """GET /v1/constitutions/{id}/labels."""
    return get(at("/v1/constitutions/{id}/labels", id=name), Page[Label], **query)


def move_label(name: str, label: str, version: str, etag: str | None = None, **more: Any) -> Call[Label]:
    """PUT /v1/constitutions/{id}/labels/{label}; without an ETag the label is made."""
    path = at("/v1/constitutions/{id}/labels/{label}", id=name, label=label)
    return Call("PUT", path, Label, body={"version": version} | more, headers=_condition(etag))


def try_cases(name: str, judge: str | None = None) -> Call[CaseReport]:
    """POST /v1/constitutions/{id}/test."""
    return post(at("/v1/constitutions/{id}/test", id=name), CaseReport, {"judge": judge})


def drafts(name: str, **query: Any) -> Call[Page[Draft]]:
    """GET /v1/constitutions/{id}/drafts."""
    return get(at("/v1/constitutions/{id}/drafts", id=name), Page[Draft], **query)


def draft(name: str, draft: str) -> Call[DraftText]:
    """GET /v1/constitutions/{id}/drafts/{draft}."""
    return get(_draft(name, draft), DraftText)


def save_draft(name: str, draft: str, text: str, etag: str | None = None, **note: str) -> Call[Draft]:
    """PUT /v1/constitutions/{id}/drafts/{draft}; YAML, and without an ETag the draft is made."""
    headers = {"Content-Type": YAML} | _condition(etag)
    return Call("PUT", _draft(name, draft), Draft, params=note, body=text.encode(), headers=headers)


def patch_draft(name: str, draft: str, patch: Json, etag: str, **note: str) -> Call[Draft]:
    """PATCH /v1/constitutions/{id}/drafts/{draft}; a JSON merge patch."""
    return Call("PATCH", _draft(name, draft), Draft, params=note, body=patch, headers=_condition(etag))


def delete_draft(name: str, draft: str, etag: str, **note: str) -> Call[None]:
    """DELETE /v1/constitutions/{id}/drafts/{draft}."""
    return Call("DELETE", _draft(name, draft), None, params=note, headers=_condition(etag))


def validate_draft(name: str, draft: str) -> Call[Validation]:
    """POST /v1/constitutions/{id}/drafts/{draft}/validate."""
    return post(_draft(name, draft, "/validate"), Validation)


def publish_draft(name: str, draft: str, etag: str, **request: Any) -> Call[Version]:
    """POST /v1/constitutions/{id}/drafts/{draft}/publish."""
    made = post(_draft(name, draft, "/publish"), Version, request)
    return replace(made, headers=_condition(etag))


def try_draft(name: str, draft: str, judge: str | None = None) -> Call[CaseReport]:
    """POST /v1/constitutions/{id}/drafts/{draft}/test."""
    return post(_draft(name, draft, "/test"), CaseReport, {"judge": judge})


def preview_draft(name: str, draft: str, **request: Any) -> Call[Preview]:
    """POST /v1/constitutions/{id}/drafts/{draft}/preview."""
    return post(_draft(name, draft, "/preview"), Preview, request)


def _draft(name: str, draft: str, rest: str = "") -> str:
    return at("/v1/constitutions/{id}/drafts/{draft}", id=name, draft=draft) + rest


def _condition(etag: str | None) -> dict[str, str]:
    return {"If-None-Match": "*"} if etag is None else {"If-Match": f'"{etag}"'}

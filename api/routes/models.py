"""/v1/models: registered models and those that jobs have trained; promoting one to be the version behind a name."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from api.answers import Keyed
from api.callers import PUBLISH, READ, Caller
from api.paging import NOT_MODIFIED, IfNoneMatch, answered, cut
from api.promoted import in_force
from api.promotions import Promotion, Promotions
from api.routes.preferences import Strict
from api.services import NamePaging, Page, Services, Use
from api.trained import Evaluation, Trained, TrainedModels
from solon.errors import Conflict
from solon.records import Record
from solon.settings import Kind, ModelName

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Keyed)

Id = Annotated[str, Path(alias="id", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
OPERATOR, JOB = "operator", "job"


class ModelCard(BaseModel):
    """A model; where it is stays with the operator."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["model"] = "model"
    id: str
    created: int
    """Unix time in seconds; 0 of a registered model."""
    owned_by: str
    """`operator` registered it, `job` trained it."""
    kind: Kind
    engine: str
    revision: str | None
    """Of the weights; of a trained model their digest."""
    promoted: str | None = None
    """Of a registered name: the trained model that it means."""


class PromotionCard(Record):
    """One decision to use a model under a name."""

    object: Literal["model.promotion"] = "model.promotion"
    id: str
    name: str
    snapshot: str
    """Id of the model."""
    digest: str
    """Of its weights."""
    replaces: str | None
    """Digest of what the name had meant by an earlier promotion."""
    gain: tuple[float, float, float] | None
    """Rating points over the one replaced, with both ends of the interval; None where a person decided."""
    by: str
    forced: bool
    reason: str
    created_at: float


class ModelDetail(ModelCard):
    """A model with what made it."""

    job: str | None = None
    step: str | None = None
    method: dict[str, Any] | None = None
    """The step of the recipe that trained it."""
    inputs: dict[str, str] | None = None
    """Digests of all that it was made of."""
    recipe: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    """What its training reported."""
    evaluation: Evaluation | None = None
    """Against the policy that its job began with."""
    promotions: tuple[PromotionCard, ...] = ()
    """Of this name, or with this model, oldest first."""


class PromoteIn(Strict):
    """What the model becomes."""

    name: ModelName
    """That shall mean this model, a registered one or a new one."""
    force: bool = False
    """Without an evaluation that speaks for it."""
    reason: Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")] = ""


@router.get("", dependencies=[READ])
async def list_models(services: Use, paging: Annotated[NamePaging, Query()]) -> Page[ModelCard]:
    """Registered models by name, then those that jobs have trained."""
    return await asyncio.to_thread(lambda: cut(_cards(services), paging, lambda card: card.id))


@router.get("/{id}", response_model=ModelDetail, responses=NOT_MODIFIED, dependencies=[READ])
async def get_model(name: Id, services: Use, if_none_match: IfNoneMatch = None) -> Response:
    """One model: of a trained one its recipe, the digests of its inputs and its evaluation."""
    return answered(await asyncio.to_thread(_detail, name, services), if_none_match)


@router.post("/{id}/promote", status_code=201, dependencies=[PUBLISH])
async def promote_model(name: Id, request: PromoteIn, services: Use, caller: Caller) -> PromotionCard:
    """Let a name mean this trained model from now on. An evaluation must speak for it, unless it is forced.

    The evaluation is the `evaluate` step of the model's own job: the model beats the policy that the job began with
    beyond doubt, and nothing is flagged. Requests and jobs that come later get this model under the name.
    """
    return await asyncio.to_thread(_promote, name, request, services, caller.name)


def _cards(services: Services) -> list[ModelCard]:
    promoted = in_force(services.settings)
    registered = [
        ModelCard(
            id=name,
            created=int(promoted[name].at.timestamp()) if name in promoted else 0,
            owned_by=OPERATOR,
            kind=entry.kind,
            engine=entry.engine,
            revision=entry.revision,
            promoted=promoted[name].snapshot if name in promoted else None,
        )
        for name, entry in sorted(services.settings.models.items())
    ]
    return registered + [_card(each) for each in TrainedModels(services).all()]


def _card(model: Trained) -> ModelCard:
    return ModelCard(
        id=model.id,
        created=int(model.created_at),
        owned_by=JOB,
        kind=model.kind,
        engine="local",
        revision=model.digest,
    )


def _detail(name: str, services: Services) -> ModelDetail:
    history = Promotions.of(services.settings).history(project=services.project)
    concerned = tuple(_promotion(each) for each in history if name in (each.name, each.snapshot))
    if name in services.settings.models:
        card = next(each for each in _cards(services) if each.id == name)
        return ModelDetail(**dict(card), promotions=concerned)
    trained = TrainedModels(services)
    model = trained.get(name)
    return ModelDetail(
        **dict(_card(model)),
        job=model.job,
        step=model.step,
        method=model.record["step"],
        inputs=model.record["inputs"],
        recipe=services.jobs.get(model.job, project=services.project).recipe,
        result=model.record["result"],
        evaluation=trained.evaluation(model),
        promotions=concerned,
    )


def _promote(name: str, request: PromoteIn, services: Services, by: str) -> PromotionCard:
    trained = TrainedModels(services)
    model = trained.get(name)
    registered = services.settings.models.get(request.name)
    if (registered.kind if registered is not None else "policy") != model.kind:
        raise Conflict("the name means a model of another kind", field="name", remedy="give a name of the same kind")
    evaluation = trained.evaluation(model)
    if not request.force and (evaluation is None or not evaluation.passed):
        what = "no evaluation speaks for the model" if evaluation is None else "its evaluation does not speak for it"
        raise Conflict(what, field="force", remedy="add an `evaluate` step to its job, or force it")
    promotions = Promotions.of(services.settings)
    current = promotions.current(request.name, project=services.project)
    promotion = Promotion(
        project=services.project,
        name=request.name,
        snapshot=model.id,
        path=str(model.path.resolve()),
        digest=model.digest,
        replaces=current.digest if current is not None else None,
        by=by,
        forced=request.force,
        reason=request.reason,
    )
    promotions.add(promotion)
    return _promotion(promotions.current(request.name, project=services.project) or promotion)


def _promotion(found: Promotion) -> PromotionCard:
    shown = found.model_dump(exclude={"path", "project", "at"})
    return PromotionCard(**shown, created_at=found.at.timestamp())

"""/v1/models: the registered models."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.answers import Keyed
from api.callers import READ
from api.services import Page, Use
from solon.settings import Kind

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Keyed)


class ModelCard(BaseModel):
    """A registered model; where it is stays with the operator."""

    object: Literal["model"] = "model"
    id: str
    kind: Kind
    engine: str
    revision: str | None


@router.get("", dependencies=[READ])
async def list_models(services: Use) -> Page[ModelCard]:
    """All registered models by name."""
    cards = [
        ModelCard(id=name, kind=entry.kind, engine=entry.engine, revision=entry.revision)
        for name, entry in sorted(services.settings.models.items())
    ]
    ids = [card.id for card in cards]
    return Page(data=cards, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None)

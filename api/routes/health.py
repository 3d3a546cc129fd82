"""Whether the server lives, whether it can take work, and what it has counted."""

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.callers import OPERATOR
from api.metrics import CONTENT_TYPE, exposition
from api.problems import problem
from api.readiness import Component
from api.services import Use

router = APIRouter(tags=["health"])


class Ready(BaseModel):
    """Everything that the service needs is there."""

    status: Literal["ok"] = "ok"
    components: list[Component]


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Ready)
async def readyz(services: Use) -> Ready | JSONResponse:
    """All that the service needs: database, migrations, jobs, each judge. 503 names what failed, and the remedy."""
    components = await services.readiness.look()
    failed = [each for each in components if each.status == "failed"]
    if failed:
        return _unready(components, failed)
    return Ready(components=components)


@router.get("/health", response_model=Ready)
async def health(services: Use) -> Ready | JSONResponse:
    """The same as /readyz, under the name that model servers use."""
    return await readyz(services)


@router.get("/metrics", dependencies=[OPERATOR], response_class=Response)
def metrics(services: Use) -> Response:
    """Counters and gauges in Prometheus' text format; docs/operations.md lists them."""
    return Response(exposition(services.observation.metrics, services.gauges), media_type=CONTENT_TYPE)


def _unready(components: list[Component], failed: list[Component]) -> JSONResponse:
    detail = "; ".join(f"{each.name}: {each.detail}" for each in failed)
    return problem(
        503,
        detail,
        headers={"Retry-After": "5"},
        remedy="; ".join(f"{each.name}: {each.remedy}" for each in failed if each.remedy),
        components=[each.model_dump() for each in components],
    )

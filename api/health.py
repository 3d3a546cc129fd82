"""Whether the server lives, and whether it can take work."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.problems import problem
from api.services import Use

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", response_model=None)
def readyz(services: Use) -> dict[str, str] | JSONResponse:
    """The database answers and jobs are being run; 503 otherwise."""
    services.jobs.page(after=None, limit=1, order="desc")
    if not services.runner.alive:
        return problem(503, "jobs are not being run", remedy="restart the server")
    return {"status": "ok"}


@router.get("/health", response_model=None)
def health(services: Use) -> dict[str, str] | JSONResponse:
    """The same as /readyz, under the name that model servers use."""
    return readyz(services)

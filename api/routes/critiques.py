"""/v1/critiques: prompts in, chains of critiques and revisions out, now. Files go through `solon critique`."""

from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from api.answers import Keyed
from api.callers import LABEL
from api.critiquing import Cast, check_cast, open_cast
from api.routes.preferences import PromptIn, Strict, check_row, rows_of
from api.services import Page, Services, Use
from constitution.document import Constitution
from critic.candidates import Sampling
from critic.critique import Critiqued, Plan, critique
from critic.drawing import Choice
from critic.revision_rates import RevisionRates
from solon.records import Discard, PreferencePair, RevisionChain
from solon.rows import Row
from solon.settings import ModelName

router = APIRouter(prefix="/v1/critiques", tags=["critiques"], route_class=Keyed)


class CritiquesRequest(Strict):
    """Prompts, or completions, to critique and revise."""

    constitution: Annotated[str, Field(min_length=1, max_length=100)]
    """Published id, `id@version` or `id@label`."""
    policy: ModelName | None = None
    """Writes the original where a prompt has no completions."""
    critic: ModelName | None = None
    """Writes critiques and revisions; null: the policy does."""
    judge: ModelName | None = None
    """Keeps a revision only where it beats its original in both orders; null: none is compared."""
    rounds: Annotated[int, Field(ge=1, le=16)] = 4
    principles: Choice = "random"
    """Which principle each round is about."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    prompts: Annotated[list[PromptIn], Field(min_length=1)]


class Revised(Page[RevisionChain | Discard]):
    """Chains and discards in the order of the prompts."""

    comparisons: list[PreferencePair]
    """Each judged revision (b) against its original (a), whatever its status."""
    rates: dict[str, Any]
    """How many revisions were kept, why others were not, and win rates, in all and per principle."""


@router.post("", dependencies=[LABEL])
async def create_critiques(request: CritiquesRequest, services: Use) -> Revised:
    """A chain of revisions for each completion, or the reason why there is none."""
    constitution = await services.constitution(request.constitution)
    cast = Cast(request.policy, request.critic, request.judge)
    check_cast(cast, constitution, services.settings)
    rows = _rows(request, constitution, services)
    with services.gate.enter():
        items = await _critique(request, cast, constitution, rows, services)
    chains = [item.chain for item in items if isinstance(item, Critiqued)]
    rates = RevisionRates(constitution.combine.tie_margin)
    rates.add(chains)
    return Revised(
        data=[item.chain if isinstance(item, Critiqued) else item for item in items],
        first_id=chains[0].id if chains else None,
        last_id=chains[-1].id if chains else None,
        comparisons=[pair for item in items if isinstance(item, Critiqued) for pair in item.pairs],
        rates=rates.to_dict(),
    )


def _rows(request: CritiquesRequest, constitution: Constitution, services: Services) -> list[Row]:
    rows = rows_of(request.prompts, services.settings.limits.prompts_per_request)
    for index, row in enumerate(rows):
        check_row(row, f"prompts.{index}", constitution, request.policy)
    return rows


async def _critique(
    request: CritiquesRequest, cast: Cast, constitution: Constitution, rows: list[Row], services: Services
) -> list[Critiqued | Discard]:
    """All that the rows come to; a reason for everything that failed."""
    running = await open_cast(cast, constitution, services.settings, services.models, services.cache)
    sampling = Sampling(max_tokens=request.max_tokens, temperature=request.temperature)
    items = critique(
        rows,
        constitution=constitution,
        critic=running.critic,
        policy=running.policy,
        judge=running.judge,
        plan=Plan(request.rounds, request.principles, sampling, request.seed),
        max_rows_in_flight=len(rows),
    )
    async with aclosing(items) as critiqued:
        return [item async for item in critiqued]

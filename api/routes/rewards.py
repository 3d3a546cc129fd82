"""/v1/rewards: completions in, what the rules of a constitution say of them out, now."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from api.answers import Keyed
from api.callers import LABEL
from api.judging import open_judge
from api.routes.preferences import PromptIn, Strict, check_row, rows_of
from api.rule_work import asker, row_values, score_values
from api.services import Page, Services, Use
from constitution.document import Constitution
from critic.concurrency import together
from critic.rules import RuleSet
from critic.rules.scoring import score_row
from solon.errors import InvalidInput
from solon.rows import Row
from solon.settings import ModelName

router = APIRouter(prefix="/v1/rewards", tags=["rewards"], route_class=Keyed)


class RewardsRequest(Strict):
    """Completions to score."""

    constitution: Annotated[str, Field(min_length=1, max_length=100)]
    """Published id, `id@version` or `id@label`."""
    judge: ModelName | None = None
    """Answers the rules' questions; null leaves them unanswered."""
    prompts: Annotated[list[PromptIn], Field(min_length=1)]
    """Each with its completions; `metadata.answer` and `metadata.instruction_id_list` are what is verified."""


class Rewarded(Strict):
    """The scores of one prompt's completions, in their order."""

    id: str
    scores: list[dict[str, Any]]
    """reward, fired, propositions, class, and exact probabilities `p_class` and `p_rule`."""
    best: int | None
    """Place of the highest reward; null where two share it."""


@router.post("", dependencies=[LABEL])
async def create_rewards(request: RewardsRequest, services: Use) -> Page[Rewarded]:
    """The rules' reward of each completion."""
    constitution = await services.constitution(request.constitution)
    rows = rows_of(request.prompts, services.settings.limits.prompts_per_request)
    for index, row in enumerate(rows):
        check_row(row, f"prompts.{index}", constitution, None)
    with services.gate.enter():
        data = await _score(request, constitution, rows, services)
    return Page[Rewarded](data=data, first_id=data[0].id, last_id=data[-1].id)


async def _score(
    request: RewardsRequest, constitution: Constitution, rows: list[Row], services: Services
) -> list[Rewarded]:
    rules = RuleSet(constitution)
    judge = None
    if request.judge is not None:
        judge = await open_judge(request.judge, constitution, services.settings, services.models, services.cache)
    ask = asker(judge)

    async def work(index: int, row: Row) -> Rewarded:
        try:
            scores = await score_row(rules, row, ask)
        except InvalidInput as error:
            # The place names the prompt, since its id is the client's text.
            part = (error.field or "").partition(": ")[2]
            raise InvalidInput(error.message, field=f"prompts.{index}.{part}", remedy=error.remedy) from error
        return Rewarded(id=row.prompt.id, **row_values(score_values(row, scores, None)))

    return await together(work(index, row) for index, row in enumerate(rows))

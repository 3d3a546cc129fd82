"""POST /v1/preferences: prompts in, labelled preference pairs out, now, and kept. Long lists are batches."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, cast

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.answers import Keyed
from api.callers import LABEL
from api.judging import open_judge
from api.reweighting import reweight
from api.services import Page, Services, Use
from constitution.document import Constitution
from constitution.weighting import weighted
from critic.candidates import Sampling
from critic.pipeline import label
from critic.schedules import Schedule
from critic.tournament import Pairing
from solon.errors import InvalidInput
from solon.records import Discard, PreferencePair
from solon.rows import HumanVote, Row, parse_row
from solon.settings import ModelName

router = APIRouter(prefix="/v1/preferences", tags=["preferences"], route_class=Keyed)

REQUEST = "request"
"""Source of what a request labelled."""
_HALF = re.compile("[\ud800-\udfff]")


class Strict(BaseModel):
    """Closed to unknown keys, no conversion of types, and no text that could not be written as UTF-8."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if not _is_whole(value):
            raise ValueError("holds half of a character (an unpaired surrogate); send it whole or leave it out")
        return value


def _is_whole(value: Any) -> bool:
    """Whether no text in it, keys included, holds an unpaired surrogate; JSON can name one, UTF-8 cannot."""
    rest: list[Any] = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, str):
            if not each.isascii() and _HALF.search(each):
                return False
        elif isinstance(each, Mapping):
            parts = cast(Mapping[Any, Any], each)
            rest += [*parts, *parts.values()]
        elif isinstance(each, list | tuple):
            rest += cast(Sequence[Any], each)
        elif isinstance(each, BaseModel) and not isinstance(each, Strict):  # which has looked itself
            rest += each.__dict__.values()
    return True


class Turn(Strict):
    """One turn of a conversation."""

    role: str
    content: str


class PromptIn(Strict):
    """One row: a prompt, and the completions to compare unless the policy is to write them."""

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    prompt: str | None = None
    messages: list[Turn] | None = None
    completions: list[str] | None = None
    response_a: str | None = None
    response_b: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    label: HumanVote | None = None
    votes: list[HumanVote] | None = None
    models: list[str | None] | None = None
    """Who wrote each completion, for audits."""
    scope: str | None = None
    metadata: dict[str, Any] | None = None


FactorsIn = dict[Annotated[str, Field(min_length=1, max_length=100)], float]
"""Factors for the weights of the principles, by id or `tag:NAME`: 1 leaves a weight, 0 silences the principle."""


class Labelling(Strict):
    """How prompts are labelled."""

    constitution: Annotated[str, Field(min_length=1, max_length=100)]
    """Published id, `id@version` or `id@label`."""
    judge: ModelName | None = None
    policy: ModelName | None = None
    """Writes `n` completions where a prompt has none."""
    n: Annotated[int, Field(ge=2, le=16)] = 4
    pairing: Pairing = "max_margin"
    schedule: Schedule | None = None
    """Comparisons to rate all completions by first; null: only those that the pairing needs."""
    min_margin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Of the pairing `threshold`."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 160
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    weights: Annotated[FactorsIn, Field(default_factory=dict)]


class PreferencesRequest(Labelling):
    """Prompts to label now."""

    prompts: Annotated[list[PromptIn], Field(min_length=1)]
    store: bool = True
    """Whether pairs and discards are kept, for GET /v1/preferences."""


class ReweightRequest(Strict):
    """Pairs with their votes, as they were given out, to be combined anew."""

    constitution: Annotated[str, Field(min_length=1, max_length=100)]
    """Published id, or `id@version`; votes under each of its principles must be there."""
    weights: Annotated[FactorsIn, Field(default_factory=dict)]
    pairs: Annotated[list[PreferencePair], Field(min_length=1)]


class Labelled(Page[PreferencePair | Discard]):
    """Pairs and discards in the order of the prompts."""

    counts: dict[str, int]
    """Items per status or discard reason."""


@router.post("", dependencies=[LABEL])
async def create_preferences(request: PreferencesRequest, services: Use) -> Labelled:
    """A label with its votes for each comparison, or the reason why there is none; kept unless `store` is false."""
    constitution = weighted(await services.constitution(request.constitution), request.weights)
    rows = _rows(request, constitution, services)
    with services.gate.enter():
        items = await _label(request, constitution, rows, services)
        if request.store:
            await keep(items, services)
    return page_of(items)


async def keep(items: list[PreferencePair | Discard], services: Services) -> None:
    """Store the items of a request."""
    await asyncio.to_thread(services.preferences.add, items, project=services.project, source=REQUEST)


@router.post("/reweight", dependencies=[LABEL])
async def reweight_preferences(request: ReweightRequest, services: Use) -> Labelled:
    """The labels that the pairs' votes come to under other weights; no model is asked and nothing is stored."""
    constitution = await services.constitution(request.constitution)
    items, _ = await reweight(request.pairs, constitution, request.weights)
    return page_of(items)


def page_of(items: list[PreferencePair | Discard]) -> Labelled:
    """The items as a list, with how many there are of each status or reason."""
    ids = [item.id for item in items if isinstance(item, PreferencePair)]
    counts: dict[str, int] = {}
    for item in items:
        word = item.reason if isinstance(item, Discard) else str(item.status)
        counts[word] = counts.get(word, 0) + 1
    return Labelled(data=items, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None, counts=counts)


def _rows(request: PreferencesRequest, constitution: Constitution, services: Services) -> list[Row]:
    rows = rows_of(request.prompts, services.settings.limits.prompts_per_request)
    for index, row in enumerate(rows):
        check_row(row, f"prompts.{index}", constitution, request.policy)
    return rows


def rows_of(prompts: Sequence[PromptIn], most: int) -> list[Row]:
    """The rows of a request; raises where there are more than `most`, two share an id, or one cannot be read."""
    if len(prompts) > most:
        raise InvalidInput(
            f"more than {most} prompts",
            field="prompts",
            remedy="send fewer, or all of them to /v1/preferences/batches",
        )
    ids = [prompt.id for prompt in prompts if prompt.id is not None]
    if len(ids) != len(set(ids)):
        raise InvalidInput("two prompts have the same id", field="prompts", remedy="give each its own id, or none")
    return [
        parse_row(prompt.model_dump(exclude_none=True), where=f"prompts.{index}", default_id=f"prompt-{index}")
        for index, prompt in enumerate(prompts)
    ]


def check_row(row: Row, where: str, constitution: Constitution, policy: str | None) -> None:
    """Raises where the row cannot be worked with; its place names it, since its id is the client's text."""
    if row.prompt.scope not in constitution.scopes:
        known = ", ".join(constitution.scopes)
        raise InvalidInput("no such scope", field=f"{where}.scope", remedy=f"use one of: {known}")
    if not row.completions and policy is None:
        raise InvalidInput(
            "no completions and no policy to write them", field=where, remedy="give `completions`, or name a `policy`"
        )


async def _label(
    request: PreferencesRequest, constitution: Constitution, rows: list[Row], services: Services
) -> list[PreferencePair | Discard]:
    """All that the rows come to; a status for everything that failed."""
    judge = await open_judge(request.judge, constitution, services.settings, services.models, services.cache)
    policy = None
    if request.policy is not None:
        services.settings.model(request.policy, "policy")
        policy = await services.models.chat(request.policy)
    items = label(
        rows,
        constitution=constitution,
        judge=judge,
        policy=policy,
        n=request.n,
        pairing=request.pairing,
        schedule=request.schedule,
        min_margin=request.min_margin,
        seed=request.seed,
        sampling=Sampling(max_tokens=request.max_tokens, temperature=request.temperature),
        min_coverage=0.0,
        weights=request.weights,
        max_rows_in_flight=len(rows),
    )
    asked = {"solon.constitution": constitution.id, "solon.judge": request.judge or "none", "solon.rows": len(rows)}
    with services.observation.span("label", asked):
        async with aclosing(services.observation.counted(items)) as labelled:
            return [item async for item in labelled]

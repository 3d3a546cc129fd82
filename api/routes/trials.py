"""Constitutions tried out over REST: their cases, which labels they would change, and labels under a new text.

    POST /v1/constitutions/{id}/test                     a published version's cases
    POST /v1/constitutions/{id}/drafts/{draft}/test      a draft's
    POST /v1/constitutions/{id}/drafts/{draft}/preview   which labels the draft would change
    POST /v1/preferences/relabel                         given pairs under a published version

The work is done before the answer is sent; sample and pairs are bounded. Only what is
relabelled by its id is stored.
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from api.answers import Keyed
from api.callers import LABEL
from api.events import Event
from api.judging import open_judge, recorded_judge
from api.published import Published
from api.relabelling import relabelled
from api.routes.constitutions import Id
from api.routes.preferences import Labelled, Strict, keep, page_of
from api.services import Services, Use
from api.trials import PreviewRequest, labelled_under, run_cases, run_preview
from constitution.document import Constitution
from constitution.library import Reference
from constitution.store import ID_PATTERN
from critic.case_testing import CaseReport
from critic.preview import Plan, Preview
from critic.relabelling import Relabeller
from solon.datasets import read_pairs
from solon.errors import InvalidInput, NotFound
from solon.records import PreferencePair
from solon.settings import ModelName

router = APIRouter(prefix="/v1", tags=["constitutions"], route_class=Keyed)

Name = Annotated[str, Path(pattern=ID_PATTERN)]
PreferenceId = Annotated[str, Field(pattern=r"^pref_[0-9a-z]{26}$")]


class TestBody(Strict):
    """How cases are tried."""

    judge: ModelName | None = None


class PreviewBody(Strict):
    """Labels that a draft may change: those of a job, or pairs as they were given out."""

    job: Annotated[str, Field(pattern=r"^job_[0-9a-z]{26}$")] | None = None
    pairs: Annotated[list[PreferencePair], Field(min_length=1)] | None = None
    earlier: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The text of the labels, as `id@version`; null finds it by their hash."""
    judge: ModelName | None = None
    """Null takes the one that gave the stored votes."""
    sample: Annotated[int, Field(ge=1, le=1000)] = 200
    control: Annotated[int, Field(ge=0, le=1000)] = 100
    """Pairs of the sample that are judged again under the earlier text."""
    cases: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class RelabelBody(Strict):
    """Pairs, as they were given out, to be labelled under another text."""

    constitution: Annotated[str, Field(min_length=1, max_length=100)]
    """Published id, `id@version` or `id@label`."""
    judge: ModelName | None = None
    """Null takes the one that gave the stored votes."""
    pairs: Annotated[list[PreferencePair], Field(min_length=1)] | None = None
    ids: Annotated[list[PreferenceId], Field(min_length=1)] | None = None
    """Of stored preferences; one of `ids` and `pairs` is given. The new labels are kept beside the old ones."""


class Relabelled(Labelled):
    """Pairs and discards in the order of the pairs."""

    judge_calls: int
    """How many were made; each vote that still stands saves one."""


@router.post("/constitutions/{id}/test", dependencies=[LABEL])
async def test_version(name: Id, body: TestBody, services: Use) -> CaseReport:
    """Put the cases of the highest published version to a judge, in both orders."""
    return await _tested(await services.constitution(name), body, services)


@router.post("/constitutions/{id}/drafts/{draft}/test", dependencies=[LABEL])
async def test_draft(name: Id, draft: Name, body: TestBody, services: Use) -> CaseReport:
    """Put a draft's cases to a judge, in both orders."""
    return await _tested(await _draft(name, draft, services), body, services)


@router.post("/constitutions/{id}/drafts/{draft}/preview", dependencies=[LABEL])
async def preview_draft(name: Id, draft: Name, body: PreviewBody, services: Use) -> Preview:
    """Which of the labels would change if the draft were published, beside the judge's own noise."""
    new = await _draft(name, draft, services)
    pairs = await _pairs(body, services)
    if body.earlier is not None:
        old = await services.constitution(body.earlier)
    else:
        old = await asyncio.to_thread(labelled_under, pairs, services.constitutions.library)
    plan = Plan(body.sample, body.control, body.seed, body.cases)
    request = PreviewRequest(old, new, lambda: pairs, body.judge, plan)
    with services.gate.enter():
        return await run_preview(request, services.settings, _unheard, services.models)


@router.post("/preferences/relabel", dependencies=[LABEL], tags=["preferences"])
async def relabel_preferences(body: RelabelBody, services: Use) -> Relabelled:
    """The pairs under another text: votes that still stand are kept, and the judge is asked only for the others."""
    pairs = await asyncio.to_thread(_given, body, services)
    constitution = await services.constitution(body.constitution)
    name = body.judge or recorded_judge(pairs)
    with services.gate.enter():
        judge = await open_judge(name, constitution, services.settings, services.models, services.cache)
        found = [each async for _, each in relabelled(pairs, Relabeller(constitution, judge))]
        if body.ids is not None:
            await keep(found, services)
    calls = sum(each.provenance.judge_calls for each in found if isinstance(each, PreferencePair))
    return Relabelled(**dict(page_of(found)), judge_calls=calls)


def _given(body: RelabelBody, services: Services) -> list[PreferencePair]:
    """The pairs that a request sends or names."""
    if (body.ids is None) == (body.pairs is None):
        raise InvalidInput("needs either ids or pairs", field="pairs", remedy="give one of `ids` and `pairs`")
    most = services.settings.limits.prompts_per_request
    if len(body.ids or body.pairs or ()) > most:
        raise InvalidInput(
            f"more than {most} pairs", field="pairs", remedy="send fewer at a time, or use `solon label --relabel`"
        )
    if body.pairs is not None:
        return body.pairs
    return [services.preferences.get(each, project=services.project).pair() for each in body.ids or ()]


async def _tested(constitution: Constitution, body: TestBody, services: Services) -> CaseReport:
    with services.gate.enter():
        return await run_cases(constitution, body.judge, services.settings, _unheard, models=services.models)


async def _draft(name: str, draft: str, services: Services) -> Constitution:
    load = services.constitutions.library.load
    return await asyncio.to_thread(load, Reference(name, "draft", draft), drafts=True)


async def _pairs(body: PreviewBody, services: Services) -> list[PreferencePair]:
    """The pairs in the request, or those that the last label step of a job wrote."""
    if (body.job is None) == (body.pairs is None):
        raise InvalidInput("needs either a job or pairs", field="job", remedy="give one of `job` and `pairs`")
    if body.pairs is not None:
        return body.pairs
    job = await asyncio.to_thread(services.jobs.get, str(body.job), project=services.project)
    await asyncio.to_thread(Published(services.settings).bring, f"jobs/{job.id}")
    folder = services.settings.artifacts / "jobs" / job.id / "out"
    found = sorted(folder.glob("*-label/pairs.jsonl"))
    pairs = await asyncio.to_thread(lambda: list(read_pairs(found[-1]))) if found else []
    if not pairs:
        raise NotFound("the job has no labels", field="job", remedy="name a job whose label step is done")
    return pairs


def _unheard(event: Event) -> None:
    """Nobody follows what is done before the answer is sent."""

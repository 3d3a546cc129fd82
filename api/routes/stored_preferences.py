"""/v1/preferences, what is kept: lists, one preference with all that made it, reviews by people, their agreement."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field, StringConstraints

from api.answers import Keyed
from api.callers import LABEL, READ
from api.judge_prompts import JudgePrompt, judge_prompts
from api.metadata_query import BY_METADATA, ByMetadata
from api.paging import NOT_MODIFIED, IfNoneMatch, answered, listed
from api.routes.preferences import Strict
from api.services import Page, Paging, Services, Use
from api.store.preference_filter import Criteria, Filter, MetadataKey, MetadataValue, Word
from api.store.preferences import LabelVersion, StoredDiscard, StoredPreference
from api.store.reviews import Review
from critic.audit import Audit, audit
from critic.people import Ceiling, ceiling
from critic.pipeline import HUMAN_VOTES
from solon.records import PreferencePair, Record
from solon.rows import HumanVote

router = APIRouter(prefix="/v1/preferences", tags=["preferences"], route_class=Keyed)

Id = Annotated[str, Path(alias="id", pattern=r"^pref_[0-9a-z]{26}$")]


class Chosen(ByMetadata, Criteria):
    """Criteria in a query, with the prompt's metadata."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    @property
    def filter(self) -> Filter:
        """The same as a body has it."""
        given = {name: getattr(self, name) for name in Criteria.model_fields}
        return Filter(**given, metadata=self.entries())


class PreferenceQuery(Chosen, Paging):
    """Which preferences, and which page of them."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class DiscardQuery(Paging):
    """Which discards, and which page of them."""

    source: Word | None = None
    """`request`, or the id of the job that met them."""


class PreferenceDetail(StoredPreference):
    """A preference with all that made it."""

    prompts: tuple[JudgePrompt, ...]
    """The exact texts that the judge was asked."""
    prompts_missing: str | None
    """Why there are none, where there are none."""
    labels: tuple[LabelVersion, ...]
    """Every label of the same completions, under whatever text and judge, oldest first; earlier versions too."""


class ReviewIn(Strict):
    """A person's verdict."""

    verdict: HumanVote
    """About the preference's `a` and `b`."""
    reviewer: Annotated[str, StringConstraints(min_length=1, max_length=202, pattern=r"^[^\x00]*$")] | None = None
    """Who says so; a later review by the same person takes the place of the earlier one in all counts."""
    comment: Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")] = ""
    version: Annotated[int, Field(ge=1)] | None = None
    """The version that was looked at; 412 where there is a later one."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict[str, str])


class AgreementReport(Record):
    """How far labels and people agree; the latest verdict of each person counts."""

    object: Literal["preference.agreement"] = "preference.agreement"
    preferences: int
    """With at least one verdict."""
    verdicts: int
    audit: Audit
    """Shares with intervals: agreement, ties, flips, and the same by principle."""
    people: Ceiling | None
    """How far people agree among themselves; None where nowhere two gave a verdict."""


@router.get("", dependencies=[READ], openapi_extra=BY_METADATA)
async def list_preferences(services: Use, query: Annotated[PreferenceQuery, Query()]) -> Page[StoredPreference]:
    """Stored preferences, newest first unless `order` says otherwise; all criteria given must hold."""
    found, more = await asyncio.to_thread(
        services.preferences.page,
        query.filter,
        project=services.project,
        after=query.after,
        limit=query.limit,
        order=query.order,
    )
    return listed(found, more)


@router.get("/discards", dependencies=[READ])
async def list_discards(services: Use, query: Annotated[DiscardQuery, Query()]) -> Page[StoredDiscard]:
    """Rows that made no comparison, each with its reason, newest first unless `order` says otherwise."""
    found, more = await asyncio.to_thread(
        services.preferences.discards,
        project=services.project,
        source=query.source,
        after=query.after,
        limit=query.limit,
        order=query.order,
    )
    return listed(found, more)


@router.get("/agreement", dependencies=[READ], openapi_extra=BY_METADATA)
async def get_agreement(services: Use, criteria: Annotated[Chosen, Query()]) -> AgreementReport:
    """How far labels and people's verdicts agree, over the preferences that fulfil the criteria."""
    with services.gate.enter():
        return await asyncio.to_thread(_agreement, services, criteria.filter)


@router.get("/{id}", dependencies=[READ], response_model=PreferenceDetail, responses=NOT_MODIFIED)
async def get_preference(
    preference: Id,
    services: Use,
    version: Annotated[int | None, Query(ge=1, le=2**31)] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One preference: votes by principle and order, rule hits, the judge's exact prompts, and its earlier labels."""
    store, project = services.preferences, services.project
    found = await asyncio.to_thread(store.get, preference, project=project, version=version)
    labels = await asyncio.to_thread(store.history, found.comparison, project=project)
    prompts, missing = await judge_prompts(found, services.constitutions.library)
    detail = PreferenceDetail(**dict(found), prompts=tuple(prompts), prompts_missing=missing, labels=tuple(labels))
    return answered(detail, if_none_match)


@router.post("/{id}/reviews", dependencies=[LABEL], status_code=201)
async def create_review(preference: Id, review: ReviewIn, services: Use) -> Review:
    """A person's verdict on a preference. All are kept; of each person the latest counts."""
    given = review.model_dump()
    return await asyncio.to_thread(
        services.reviews.add, preference, given.pop("verdict"), project=services.project, **given
    )


@router.get("/{id}/reviews", dependencies=[READ])
async def list_reviews(preference: Id, services: Use, paging: Annotated[Paging, Query()]) -> Page[Review]:
    """What people said of a preference, newest first unless `order` says otherwise."""
    found, more = await asyncio.to_thread(
        services.reviews.page,
        preference,
        project=services.project,
        after=paging.after,
        limit=paging.limit,
        order=paging.order,
    )
    return listed(found, more)


def reviewed_pair(stored: StoredPreference, services: Services) -> PreferencePair:
    """The pair, with people's verdicts beside those that came with its row."""
    pair = stored.pair()
    if not stored.people.reviews:
        return pair
    said = services.reviews.votes(pair.id, project=services.project)
    return pair.model_copy(update={"extra": {**pair.extra, HUMAN_VOTES: [*pair.extra.get(HUMAN_VOTES, ()), *said]}})


def _agreement(services: Services, wanted: Filter) -> AgreementReport:
    """Over reviewed preferences; memory grows with the verdicts, not with the texts."""
    votes: list[list[HumanVote]] = []
    judged: list[Any] = []
    groups: list[str] = []

    def reviewed() -> Any:
        chosen = wanted.model_copy(update={"reviewed": True})
        for stored in services.preferences.each(chosen, project=services.project):
            said = services.reviews.votes(stored.id, project=services.project)
            label = stored.chosen or ("tie" if stored.status == "tie" else None)
            votes.append(said)
            if label is not None:
                judged.append((said, label))
                groups.append(stored.prompt.id)
            yield stored.pair().model_copy(update={"extra": {HUMAN_VOTES: said}})

    found = audit(reviewed())
    people = ceiling([said for said, _ in judged], [label for _, label in judged], groups)
    return AgreementReport(preferences=len(votes), verdicts=sum(map(len, votes)), audit=found, people=people)

"""What people say of stored preferences. Every review is kept; the latest of each person counts."""

import time
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.ids import new_id
from api.store.preference_tables import PreferenceRow, ReviewRow
from api.store.preferences import Order, find
from api.store.webhooks import WebhookEvent, announce
from solon.errors import InvalidInput, PreconditionFailed
from solon.records import Record
from solon.rows import HumanVote


class Review(Record):
    """One person's verdict on one preference."""

    object: Literal["preference.review"] = "preference.review"
    id: str
    preference: str
    version: int
    """The version that was looked at."""
    verdict: HumanVote
    """About the preference's `a` and `b`."""
    reviewer: str | None
    """Who it was; None: somebody, and each such review counts for itself."""
    comment: str
    metadata: Annotated[dict[str, Any], Field(default_factory=dict)]
    created_at: float


class ReviewStore:
    """All reviews of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(
        self,
        preference: str,
        verdict: HumanVote,
        *,
        project: str,
        reviewer: str | None = None,
        comment: str = "",
        version: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Review:
        """The review as it is kept.

        Args:
            version: the one that was looked at; None: whichever is the latest.

        Raises NotFound, or PreconditionFailed where the label has changed since that version.
        """
        with Session(self._engine) as session, session.begin():
            row = find(session, preference, project, lock=True)
            if version is not None and version != row.version:
                raise PreconditionFailed(
                    "the preference has another version by now",
                    field="version",
                    remedy=f"look at version {row.version}",
                )
            review = ReviewRow(
                id=new_id("rev"),
                preference=row.number,
                version=row.version,
                verdict=verdict,
                reviewer=reviewer,
                comment=comment,
                details=metadata or {},
                created_at=time.time(),
            )
            session.add(review)
            session.flush()
            _count(session, row)
            told = {"object": "preference", "id": preference, "review": review.id}
            announce(session, project, WebhookEvent.PREFERENCE_REVIEWED, told)
            return _review(review, preference)

    def page(
        self, preference: str, *, project: str, after: str | None, limit: int, order: Order
    ) -> tuple[list[Review], bool]:
        """At most `limit` reviews beyond `after` in the order in which they were given, and whether more follow."""
        with Session(self._engine) as session:
            row = find(session, preference, project)
            query = select(ReviewRow).where(ReviewRow.preference == row.number)
            if after is not None:
                if session.scalar(select(ReviewRow.id).where(ReviewRow.id == after)) is None:
                    raise InvalidInput("is nothing in this list", field="after", remedy="give a `last_id` of this list")
                query = query.where(ReviewRow.id > after if order == "asc" else ReviewRow.id < after)
            by = ReviewRow.id.asc() if order == "asc" else ReviewRow.id.desc()
            rows = session.scalars(query.order_by(by).limit(limit + 1)).all()
            return [_review(each, preference) for each in rows[:limit]], len(rows) > limit

    def votes(self, preference: str, *, project: str) -> list[HumanVote]:
        """What people say now, the latest of each person, in the order in which they first spoke."""
        with Session(self._engine) as session:
            return list(_latest(session, find(session, preference, project)).values())


def _latest(session: Session, row: PreferenceRow) -> dict[str, HumanVote]:
    """By person; who gave no name is a person of their own each time."""
    query = select(ReviewRow).where(ReviewRow.preference == row.number).order_by(ReviewRow.id)
    said: dict[str, Any] = {}
    for review in session.scalars(query):
        said["named:" + review.reviewer if review.reviewer is not None else review.id] = review.verdict
    return said


def _count(session: Session, row: PreferenceRow) -> None:
    said = list(_latest(session, row).values())
    row.votes_a, row.votes_b, row.votes_tie = (said.count(each) for each in ("a", "b", "tie"))
    row.reviews += 1


def _review(row: ReviewRow, preference: str) -> Review:
    return Review.model_validate(
        {
            "id": row.id,
            "preference": preference,
            "version": row.version,
            "verdict": row.verdict,
            "reviewer": row.reviewer,
            "comment": row.comment,
            "metadata": row.details,
            "created_at": row.created_at,
        }
    )

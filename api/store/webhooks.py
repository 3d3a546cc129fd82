"""Webhooks and deliveries in the database: an event is stored for every webhook that wants it, together with what it
tells of, and is taken by one courier at a time until it has arrived. Methods block; call them from a thread.

    announce(session, "acme", "job.succeeded", {...})     in the transaction that makes it so
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from api.ids import new_id
from api.store.database import reading
from api.store.tables import DeliveryRow, WebhookRow
from solon.errors import Conflict, NotFound
from solon.records import Record

LEASE_S: Final = 120.0
"""After so long a delivery that was being sent counts as lost and is sent again."""


class WebhookEvent(StrEnum):
    """What is told."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    JOB_PAUSED = "job.paused"
    AUDIT_SUCCEEDED = "audit.succeeded"
    AUDIT_FAILED = "audit.failed"
    PREFERENCE_REVIEWED = "preference.reviewed"
    TEST = "webhook.test"


class Webhook(Record):
    """An address that events are delivered to."""

    object: Literal["webhook"] = "webhook"
    id: str
    project: str
    url: str
    events: tuple[str, ...]
    """Empty: all."""
    description: str
    created_at: float
    """Unix time in seconds, as all times here."""
    former_until: float | None = None
    """Until when the secret before the last rotation signs too."""
    failing_since: float | None = None
    disabled_at: float | None = None
    disabled_why: str | None = None


class Delivery(Record):
    """An event on its way, or arrived."""

    object: Literal["webhook.delivery"] = "webhook.delivery"
    id: str
    webhook: str
    message: str
    """The `webhook-id` that it is sent with."""
    type: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    created_at: float
    due_at: float
    ended_at: float | None
    answer: int | None
    """HTTP status of the last attempt."""
    problem: str | None
    """Why there was none."""


@dataclass(frozen=True)
class Errand:
    """A delivery that a courier has taken."""

    delivery: Delivery
    body: str
    url: str
    secrets: tuple[int, ...]
    """Numbers of the secrets that sign it, the current one first."""


def announce(session: Session, project: str, kind: WebhookEvent, data: Mapping[str, Any]) -> int:
    """How many webhooks of the project will be told; stored with what the session commits."""
    rows = session.scalars(
        select(WebhookRow).where(WebhookRow.project == project, WebhookRow.disabled_at.is_(None))
    ).all()
    wanting = [row for row in rows if not row.events or kind in row.events]
    _store(session, wanting, kind, data)
    return len(wanting)


def _store(session: Session, rows: Sequence[WebhookRow], kind: str, data: Mapping[str, Any]) -> list[DeliveryRow]:
    now, message = time.time(), new_id("msg")
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = json.dumps({"type": kind, "timestamp": at, "data": dict(data)}, ensure_ascii=False, separators=(",", ":"))
    made = [
        DeliveryRow(
            id=new_id("dlv"),
            webhook=row.id,
            project=row.project,
            message=message,
            type=kind,
            body=body,
            status="pending",
            attempts=0,
            created_at=now,
            due_at=now,
        )
        for row in rows
    ]
    session.add_all(made)
    session.flush()
    return made


class WebhookStore:
    """All webhooks of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, project: str, url: str, events: Sequence[str], description: str, *, most: int) -> Webhook:
        """A new webhook; raises Conflict where the project has `most` already."""
        row = WebhookRow(
            id=new_id("wh"),
            project=project,
            url=url,
            events=sorted(events),
            description=description,
            created_at=time.time(),
            secret=1,
        )
        with Session(self._engine) as session, session.begin():
            count = select(func.count()).select_from(WebhookRow).where(WebhookRow.project == project)
            if (session.scalar(count) or 0) >= most:
                raise Conflict(f"the project has {most} webhooks already", remedy="remove one")
            session.add(row)
            session.flush()
            return _webhook(row)

    def get(self, webhook_id: str, *, project: str) -> Webhook:
        """One webhook; raises NotFound, for one of another project too."""
        with reading(self._engine) as session:
            return _webhook(_row(session, webhook_id, project))

    def webhooks(self, *, project: str) -> list[Webhook]:
        """Those of a project, in the order in which they were made."""
        query = select(WebhookRow).where(WebhookRow.project == project).order_by(WebhookRow.id)
        with reading(self._engine) as session:
            return [_webhook(row) for row in session.scalars(query)]

    def change(self, webhook_id: str, changes: Mapping[str, Any], *, project: str) -> Webhook:
        """The webhook with new `url`, `events` or `description`; `enabled` true takes it up again, false stops it."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, webhook_id, project)
            for name in ("url", "description"):
                setattr(row, name, changes.get(name, getattr(row, name)))
            if "events" in changes:
                row.events = sorted(changes["events"])
            if changes.get("enabled") is True:
                row.disabled_at = row.disabled_why = row.failing_since = None
            elif changes.get("enabled") is False and row.disabled_at is None:
                row.disabled_at, row.disabled_why = time.time(), "asked for"
            return _webhook(row)

    def remove(self, webhook_id: str, *, project: str) -> None:
        """The webhook is gone, and its deliveries with it."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, webhook_id, project)
            session.execute(delete(DeliveryRow).where(DeliveryRow.webhook == row.id))
            session.delete(row)

    def rotate(self, webhook_id: str, keep_s: float, *, project: str) -> tuple[Webhook, int]:
        """The webhook and the number of its new secret; the one before signs too for `keep_s` more."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, webhook_id, project)
            row.secret += 1
            row.former_until = time.time() + keep_s if keep_s > 0 else None
            return _webhook(row), row.secret

    def test(self, webhook_id: str, *, project: str) -> Delivery:
        """A delivery of a test event, to this webhook whatever it wants; raises Conflict where it is disabled."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, webhook_id, project)
            if row.disabled_at is not None:
                raise Conflict("the webhook is disabled", remedy='enable it: PATCH with {"enabled": true}')
            return _delivery(_store(session, [row], WebhookEvent.TEST, {"object": "webhook", "id": row.id})[0])

    def delivery(self, delivery_id: str) -> Delivery:
        """One delivery as it stands."""
        with reading(self._engine) as session:
            return _delivery(session.get_one(DeliveryRow, delivery_id))

    def deliveries(
        self, webhook_id: str, *, project: str, after: str | None, limit: int, order: Literal["asc", "desc"]
    ) -> tuple[list[Delivery], bool]:
        """At most `limit` deliveries of a webhook beyond `after`, and whether there are more; raises NotFound."""
        query = select(DeliveryRow).where(DeliveryRow.webhook == webhook_id).limit(limit + 1)
        query = query.order_by(DeliveryRow.id.asc() if order == "asc" else DeliveryRow.id.desc())
        if after is not None:
            query = query.where(DeliveryRow.id > after if order == "asc" else DeliveryRow.id < after)
        with reading(self._engine) as session:
            _row(session, webhook_id, project)
            rows = session.scalars(query).all()
            return [_delivery(row) for row in rows[:limit]], len(rows) > limit

    def take(self, limit: int, now: float | None = None) -> list[Errand]:
        """Deliveries that are due, for this courier alone until their lease ends; the longest due first."""
        now = time.time() if now is None else now
        if not self._any_due(now):
            return []
        due = select(DeliveryRow.id).where(DeliveryRow.status == "pending", DeliveryRow.due_at <= now)
        due = due.order_by(DeliveryRow.due_at).limit(limit)
        with Session(self._engine) as session, session.begin():
            # The condition stands in the update too: whoever waited for another courier's row finds it taken.
            taken = session.scalars(
                update(DeliveryRow)
                .where(DeliveryRow.id.in_(due), DeliveryRow.status == "pending", DeliveryRow.due_at <= now)
                .values(due_at=now + LEASE_S, attempts=DeliveryRow.attempts + 1)
                .returning(DeliveryRow)
            ).all()
            hooks = {row.id: row for row in session.scalars(select(WebhookRow).where(_among(taken)))}
            return [_errand(row, hooks[row.webhook], now) for row in taken]

    def forget(self, before: float) -> int:
        """How many deliveries were removed: those that had ended by then."""
        with Session(self._engine) as session, session.begin():
            ended = delete(DeliveryRow).where(DeliveryRow.ended_at < before).returning(DeliveryRow.id)
            return len(session.scalars(ended).all())

    def _any_due(self, now: float) -> bool:
        query = select(DeliveryRow.id).where(DeliveryRow.status == "pending", DeliveryRow.due_at <= now).limit(1)
        with reading(self._engine) as session:
            return session.scalar(query) is not None

    def arrived(self, errand: Errand, answer: int) -> None:
        """The receiver has it."""
        with Session(self._engine) as session, session.begin():
            row = session.get(DeliveryRow, errand.delivery.id)
            if row is not None:
                row.status, row.answer, row.problem, row.ended_at = "delivered", answer, None, time.time()
                session.get_one(WebhookRow, row.webhook).failing_since = None

    def missed(
        self, errand: Errand, *, answer: int | None, problem: str, retry_at: float | None, disable_after_s: float | None
    ) -> None:
        """It did not arrive: it is due again at `retry_at`, or has failed. Raises nothing where it was removed.

        Args:
            disable_after_s: the webhook is disabled once nothing has arrived for so long; None: at once.
        """
        now = time.time()
        with Session(self._engine) as session, session.begin():
            row = session.get(DeliveryRow, errand.delivery.id)
            if row is None:
                return
            row.answer, row.problem = answer, problem[:200]
            if retry_at is None:
                row.status, row.ended_at = "failed", now
            else:
                row.due_at = retry_at
            hook = session.get_one(WebhookRow, row.webhook)
            since = hook.failing_since = hook.failing_since or now
            if disable_after_s is None or now - since >= disable_after_s:
                _disable(session, hook, now, problem)


def _disable(session: Session, hook: WebhookRow, now: float, problem: str) -> None:
    """The webhook gets no more events, and what was on its way has failed."""
    hook.disabled_at, hook.disabled_why = hook.disabled_at or now, problem[:200]
    waiting = update(DeliveryRow).where(DeliveryRow.webhook == hook.id, DeliveryRow.status == "pending")
    session.execute(waiting.values(status="failed", ended_at=now, problem="the webhook was disabled"))


def _among(taken: Sequence[DeliveryRow]) -> Any:
    return WebhookRow.id.in_({row.webhook for row in taken})


def _row(session: Session, webhook_id: str, project: str) -> WebhookRow:
    found = session.scalars(
        select(WebhookRow).where(WebhookRow.id == webhook_id, WebhookRow.project == project)
    ).one_or_none()
    if found is None:
        raise NotFound("there is no such webhook", field="id", remedy="GET /v1/webhooks lists them")
    return found


def _errand(row: DeliveryRow, hook: WebhookRow, now: float) -> Errand:
    former = hook.former_until is not None and hook.former_until > now
    return Errand(_delivery(row), row.body, hook.url, (hook.secret, hook.secret - 1) if former else (hook.secret,))


def _webhook(row: WebhookRow) -> Webhook:
    values = {name: getattr(row, name) for name in Webhook.model_fields if name not in ("object", "events")}
    return Webhook(**values, events=tuple(row.events))


def _delivery(row: DeliveryRow) -> Delivery:
    return Delivery(**{name: getattr(row, name) for name in Delivery.model_fields if name != "object"})

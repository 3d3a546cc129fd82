"""What projects use, counted in the database by one statement each: no race takes more than there is.

    usage.take("acme", "calls_per_day", 1, limit=1000)      raises QuotaSpent where it would be more than 1000
    usage.give("acme", "usd_per_day", rest)                 it was cheaper than that

A row counts what was used in a minute, a day or a month of UTC; the next period begins with a row of its own. Files and
waiting jobs are not counted here: their own tables say how many there are, in the transaction that adds one.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from api.store.database import reading
from api.store.tables import FileRow, JobRow, ProjectRow, UsageRow
from solon.errors import QuotaSpent
from solon.settings import Quota

_FORMATS: Final = {"minute": "%Y-%m-%dT%H:%MZ", "day": "%Y-%m-%d", "month": "%Y-%m"}
_UNTIMED_RETRY_S: Final = 3600.0

Sums = dict[tuple[str, str, str], float]
"""Amounts by project, name of the limit, and period."""


@dataclass(frozen=True)
class Period:
    """The time that a limit is counted over."""

    name: str
    """Of the row; empty where there is no end."""
    left_s: float | None
    """Seconds until the next one begins."""


def period_of(what: str, now: float | None = None) -> Period:
    """The current minute, day or month, as the name of the limit says."""
    unit = what.rpartition("_per_")[2]
    if unit not in _FORMATS:
        return Period("", None)
    at = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    start = at.replace(second=0, microsecond=0)
    if unit == "minute":
        end = start + timedelta(minutes=1)
    elif unit == "day":
        end = start.replace(hour=0, minute=0) + timedelta(days=1)
    else:
        end = (start.replace(day=1, hour=0, minute=0) + timedelta(days=32)).replace(day=1)
    return Period(at.strftime(_FORMATS[unit]), (end - at).total_seconds())


class UsageStore:
    """What all projects of one database have used. Methods block; call them from a thread."""

    def __init__(self, engine: Engine, default: Quota) -> None:
        """Args:
        default: of projects that have no quota of their own.
        """
        self._engine = engine
        self._default = default

    def quota(self, project: str) -> Quota:
        """What a project may use."""
        with reading(self._engine) as session:
            own = session.scalar(select(ProjectRow.quota).where(ProjectRow.id == project))
        return self._default if own is None else Quota.model_validate(own)

    def take(self, project: str, what: str, amount: float, limit: float, now: float | None = None) -> float:
        """What is used with this; raises QuotaSpent, and counts nothing, where that would be more than the limit."""
        period = period_of(what, now)
        used = self._take(project, what, period.name, amount, limit) if amount <= limit else None
        if used is None:
            raise spent(what, limit, period)
        return used

    def add(self, sums: Sums) -> None:
        """Count what there is no limit of."""
        with Session(self._engine) as session, session.begin():
            for (project, what, period), amount in sorted(sums.items()):  # in one order, so that nobody locks another
                session.execute(self._counted(project, what, period, amount))

    def give(self, project: str, what: str, amount: float, now: float | None = None) -> None:
        """Give back what was taken and not used; what is counted never goes below nothing."""
        left = UsageRow.used - amount
        key = {"project": project, "what": what, "period": period_of(what, now).name}
        with Session(self._engine) as session, session.begin():
            session.execute(update(UsageRow).filter_by(**key).values(used=case((left < 0, 0.0), else_=left)))

    def used(self, project: str, now: float | None = None) -> Mapping[str, float]:
        """By limit: what is used of it in the current period."""
        names = {what: period_of(what, now).name for what in Quota.model_fields}
        with reading(self._engine) as session:
            rows = session.scalars(select(UsageRow).where(UsageRow.project == project)).all()
            stored = session.scalar(select(func.sum(FileRow.bytes)).where(FileRow.project == project)) or 0
            queued = select(func.count()).where(JobRow.project == project, JobRow.status == "queued")
            now_there = {"storage_bytes": float(stored), "queued_jobs": float(session.scalar(queued) or 0)}
        return {row.what: row.used for row in rows if names.get(row.what) == row.period} | {
            what: used for what, used in now_there.items() if used
        }

    def forget(self, now: float | None = None) -> int:
        """How many rows of minutes and days that are over were removed."""
        kept = {period_of(what, now).name for what in Quota.model_fields}
        with Session(self._engine) as session, session.begin():
            old = session.scalars(select(UsageRow).where(UsageRow.period.not_in(kept))).all()
            for row in old:
                session.delete(row)
            return len(old)

    def _take(self, project: str, what: str, period: str, amount: float, limit: float) -> float | None:
        """The sum after adding; None where there is no room. One statement, so nothing comes between."""
        statement = self._counted(project, what, period, amount, UsageRow.used + amount <= limit)
        with Session(self._engine) as session, session.begin():
            found = session.execute(statement.returning(UsageRow.used)).scalar_one_or_none()
        return None if found is None else float(found)

    def _counted(self, project: str, what: str, period: str, amount: float, where: Any = None) -> Any:
        """The statement that adds to a row, or makes it."""
        insert: Any = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        added = insert(UsageRow).values(project=project, what=what, period=period, used=amount)
        keys = ["project", "what", "period"]
        return added.on_conflict_do_update(index_elements=keys, set_={"used": UsageRow.used + amount}, where=where)


def spent(what: str, limit: float, period: Period) -> QuotaSpent:
    """What is raised where a project has used all that it may."""
    wait = _UNTIMED_RETRY_S if period.left_s is None else period.left_s
    said = what.replace("_", " ")
    remedy = "wait, or ask an operator for more" if period.left_s is not None else "remove something, or ask for more"
    return QuotaSpent(f"the project's quota of {limit:,g} {said} is spent", retry_after_s=wait, remedy=remedy)

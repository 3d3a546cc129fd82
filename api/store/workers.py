"""Workers in the database: who lives, judged by the database's clock, so that no two hosts' clocks are compared."""

from typing import Any, Literal

from sqlalchemy import Engine, Float, cast, delete, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from api.store.database import reading
from api.store.job_tables import WorkerRow
from solon.records import Record


class Worker(Record):
    """A process that does jobs."""

    object: Literal["worker"] = "worker"
    id: str
    host: str
    process: int
    queues: tuple[str, ...]
    started_at: float
    seen_at: float


class WorkerStore:
    """All workers of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def beat(self, worker_id: str, *, host: str, process: int, queues: tuple[str, ...]) -> None:
        """The worker lives."""
        with Session(self._engine) as session, session.begin():
            now = self._now(session)
            row = session.get(WorkerRow, worker_id)
            if row is None or row.process != process or row.host != host:
                row = session.merge(WorkerRow(id=worker_id, started_at=now, seen_at=now, queues=""))
            row.host, row.process, row.queues, row.seen_at = host, process, " ".join(queues), now

    def leave(self, worker_id: str) -> None:
        """The worker ends, and what it had may be taken over at once."""
        with Session(self._engine) as session, session.begin():
            if (row := session.get(WorkerRow, worker_id)) is not None:
                row.seen_at = 0.0

    def dead(self, after_s: float) -> list[str]:
        """Workers that were not seen for so long."""
        with reading(self._engine) as session:
            since = self._now(session) - after_s
            return list(session.scalars(select(WorkerRow.id).where(WorkerRow.seen_at < since)))

    def forget(self, worker_ids: list[str], after_s: float) -> None:
        """Those of them that are still dead are gone."""
        with Session(self._engine) as session, session.begin():
            since = self._now(session) - after_s
            session.execute(delete(WorkerRow).where(WorkerRow.id.in_(worker_ids), WorkerRow.seen_at < since))

    def alive(self, within_s: float) -> list[Worker]:
        """Workers that were seen in that time."""
        with reading(self._engine) as session:
            since = self._now(session) - within_s
            rows = session.scalars(select(WorkerRow).where(WorkerRow.seen_at >= since).order_by(WorkerRow.id))
            return [_worker(row) for row in rows]

    def _now(self, session: Session) -> float:
        """Unix time in seconds, by the database's clock."""
        return float(session.execute(select(self._clock())).scalar_one())

    def _clock(self) -> ColumnElement[Any]:
        if self._engine.dialect.name == "sqlite":
            return text("(julianday('now') - 2440587.5) * 86400.0")  # type: ignore[return-value]
        return cast(func.extract("epoch", func.clock_timestamp()), Float)


def _worker(row: WorkerRow) -> Worker:
    return Worker(
        id=row.id,
        host=row.host,
        process=row.process,
        queues=tuple(row.queues.split()),
        started_at=row.started_at,
        seen_at=row.seen_at,
    )

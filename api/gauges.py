"""What only the database knows, read at each scrape: jobs and audits by state, how long the queue has waited, cost."""

import time
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from api.store.audits import AuditStatus
from api.store.jobs import JobStatus
from api.store.tables import AuditRow, JobRow
from api.store.workers import WorkerStore
from solon.errors import StorageUnavailable


class DatabaseGauges(Collector):
    """A few indexed queries; a database that does not answer is `solon_database_up 0` and nothing else."""

    def __init__(self, database: Engine, dead_after_s: float) -> None:
        """Args:
        dead_after_s: a worker that was not seen for so long does not live.
        """
        self._database = database
        self._dead_after_s = dead_after_s

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked of the database at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges as they are now."""
        try:
            found = list(self._found())
        except (SQLAlchemyError, StorageUnavailable):
            found = []
        yield _up(1 if found else 0)
        yield from found

    def _found(self) -> Iterator[Metric]:
        with self._database.connect() as connection:
            jobs, audits = (_counts(connection, table) for table in (JobRow, AuditRow))
            oldest = connection.scalar(
                select(func.min(JobRow.created_at)).where(JobRow.status == JobStatus.QUEUED.value)
            )
            cost_usd = connection.scalar(select(func.sum(JobRow.cost_usd)))
        yield _by_state("solon_jobs", "Jobs by state.", {state.value: jobs.get(state.value, 0) for state in JobStatus})
        states = {state.value: audits.get(state.value, 0) for state in AuditStatus}
        yield _by_state("solon_audits", "Audits by state.", states)
        yield _single("solon_jobs_queued", "Jobs that wait for a worker.", jobs.get(JobStatus.QUEUED.value, 0))
        waited_s = max(0.0, time.time() - oldest) if oldest is not None else 0.0
        yield _single("solon_job_queue_seconds", "How long the job that has waited longest has waited.", waited_s)
        yield _single("solon_jobs_cost_usd", "What all jobs paid for models, US dollars.", cost_usd or 0.0)
        alive = WorkerStore(self._database).alive(self._dead_after_s)
        yield _single("solon_workers", "Workers that live.", len(alive))


class _Away(Collector):
    def collect(self) -> Iterator[Metric]:
        yield _up(0)


def database_away() -> bytes:
    """What /metrics tells while no key can be looked up: that the database is away, and nothing else."""
    return generate_latest(_Away())


def _up(value: float) -> Metric:
    return _single("solon_database_up", "1 where the database answers.", value)


def _single(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _counts(connection: Connection, table: type[JobRow] | type[AuditRow]) -> dict[str, int]:
    rows = connection.execute(select(table.status, func.count()).group_by(table.status))
    return {row[0]: row[1] for row in rows}


def _by_state(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family

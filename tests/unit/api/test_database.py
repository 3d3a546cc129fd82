"""Transactions: what was read is still so when it is written, and readers wait for nobody."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.store.database import open_database, reading
from api.store.jobs import JobStore
from api.store.tables import JobRow
from tests.integration.postgres import DATABASES, new_database
from tests.unit.constitution.stores import PATIENCE_S, processes

PROCESSES = 4
JOBS = 60


def _claim_by_reading_first(url: str, results: Any) -> None:
    """Read which row waits, and then take it: correct only where both are one critical section."""
    engine = open_database(url)
    while True:
        with Session(engine) as session, session.begin():
            row = session.scalars(sa.select(JobRow).where(JobRow.status == "queued").limit(1)).first()
            if row is None:
                break
            row.status = "running"
            claimed = row.id
        results.put(claimed)
    results.put(None)


def _claim_from_the_store(url: str, results: Any) -> None:
    store = JobStore(open_database(url))
    while (job := store.claim()) is not None:
        results.put(job.id)
    results.put(None)


def claims(url: str, target: Any) -> Counter[str]:
    """How often each of the jobs was claimed by several processes at once."""
    store = JobStore(open_database(url))
    for _ in range(JOBS):
        store.create({}, max_queued=JOBS)
    context = processes()
    results = context.Queue()
    workers = [context.Process(target=target, args=(url, results)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    counted: Counter[str] = Counter()
    ended = 0
    while ended < PROCESSES:
        claimed = results.get(timeout=PATIENCE_S)
        ended += claimed is None
        counted.update([claimed] if claimed is not None else [])
    for worker in workers:
        worker.join(PATIENCE_S)
    return counted


@pytest.mark.slow
def test_processes_that_read_before_they_claim_never_claim_twice_on_sqlite(tmp_path: Path):
    counted = claims(new_database("sqlite", tmp_path), _claim_by_reading_first)
    assert (len(counted), set(counted.values())) == (JOBS, {1})


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_processes_never_claim_a_job_twice(kind: str, tmp_path: Path):
    counted = claims(new_database(kind, tmp_path), _claim_from_the_store)
    assert set(counted.values()) == {1}


@pytest.mark.parametrize("kind", DATABASES)
def test_a_reader_sees_one_state_and_waits_for_no_writer(kind: str, tmp_path: Path):
    engine = open_database(new_database(kind, tmp_path))
    store = JobStore(engine)
    store.create({}, max_queued=9)
    with Session(engine) as writing, writing.begin():
        writing.execute(sa.update(JobRow).values(status="running"))
        with reading(engine) as session:
            assert session.scalars(sa.select(JobRow.status)).all() == ["queued"]
    with reading(engine) as session:
        assert session.scalars(sa.select(JobRow.status)).all() == ["running"]


def test_a_writer_waits_for_the_one_before_it(tmp_path: Path):
    engine = open_database(new_database("sqlite", tmp_path))
    began, order = threading.Event(), list[str]()

    def second() -> None:
        began.set()
        with Session(engine) as session, session.begin():
            session.execute(sa.select(sa.literal(1)))  # a read is enough: the lock is taken when it begins
            order.append("second")

    other = threading.Thread(target=second)
    with Session(engine) as session, session.begin():
        session.execute(sa.select(sa.literal(1)))
        other.start()
        began.wait()
        threading.Event().wait(0.1)
        order.append("first")
    other.join()
    assert order == ["first", "second"]

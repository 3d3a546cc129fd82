"""Transactions: what was read is still so when it is written, and readers wait for nobody."""

import resource
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from api.store import database
from api.store.database import open_database, reading
from api.store.jobs import JobStore
from api.store.tables import JobRow
from solon.errors import InvalidInput, StorageUnavailable
from tests.integration.postgres import DATABASES, new_database
from tests.unit.api.queues import NoQueue
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


def claims(url: str, target: Any) -> Counter[str]:
    """How often each of the jobs was claimed by several processes at once."""
    store = JobStore(open_database(url), NoQueue())
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


@pytest.mark.parametrize("kind", DATABASES)
def test_a_reader_sees_one_state_and_waits_for_no_writer(kind: str, tmp_path: Path):
    engine = open_database(new_database(kind, tmp_path))
    store = JobStore(engine, NoQueue())
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


@pytest.fixture
def full_disk() -> Iterator[Callable[[Path], None]]:
    """Files of this process cannot grow any more, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(database: Path) -> None:
        largest = max(path.stat().st_size for path in database.parent.glob(f"{database.name}*"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def _write_much(store: JobStore) -> None:
    for _ in range(100):
        store.create({"text": "x" * 4000}, max_queued=999)


def _write_and_be_cut_off(engine: sa.Engine) -> None:
    with Session(engine) as session, session.begin():
        session.add(JobRow(id="job_x", status="queued", recipe={}, created_at=1.0, request_hash=""))
        session.flush()
        session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, full_disk: Callable[[Path], None]):
    url = new_database("sqlite", tmp_path)
    store = JobStore(open_database(url), NoQueue())
    kept = store.create({"n": 1}, max_queued=99)
    full_disk(tmp_path / "solon.db")
    with pytest.raises(StorageUnavailable, match="disk") as caught:
        _write_much(store)
    assert (caught.value.http_status, caught.value.remedy != "") == (503, True)
    assert store.get(kept.id) == kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    later = store.create({"n": 2}, max_queued=999)
    assert JobStore(open_database(url), NoQueue()).get(later.id) == later


def test_a_database_that_is_locked_for_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    url = new_database("sqlite", tmp_path)
    engine = open_database(url)
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    waiting = JobStore(database.connect(url), NoQueue())
    with engine.begin(), pytest.raises(StorageUnavailable, match="locked") as caught:
        waiting.create({}, max_queued=9)
    assert caught.value.retry_after_s > 0
    waiting.create({}, max_queued=9)


def test_a_file_that_is_no_database_is_wrong_input_and_stays_as_it_is(tmp_path: Path):
    (tmp_path / "solon.db").write_text("my notes\n" * 1000)
    with pytest.raises(InvalidInput, match="no SQLite database"):
        open_database(new_database("sqlite", tmp_path))
    assert (tmp_path / "solon.db").read_text() == "my notes\n" * 1000


def test_a_server_that_does_not_answer_is_unavailable():
    with pytest.raises(StorageUnavailable, match="cannot be reached") as caught:
        open_database("postgresql+psycopg://ada:secret@127.0.0.1:1/solon")
    assert "secret" not in str(caught.value)


@pytest.mark.postgres
def test_connections_that_the_server_ended_are_made_again(tmp_path: Path):
    url = new_database("postgresql", tmp_path)
    store = JobStore(open_database(url), NoQueue())
    kept = store.create({}, max_queued=9)
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    end = sa.text(f"SELECT pg_terminate_backend(pid) {others}")
    with open_database(url).connect() as connection:
        connection.execute(end)
    assert store.get(kept.id) == kept


@pytest.mark.postgres
def test_a_connection_that_ends_within_a_transaction_is_an_outage_and_nothing_is_written(tmp_path: Path):
    url = new_database("postgresql", tmp_path)
    engine = open_database(url)
    with pytest.raises(StorageUnavailable):
        _write_and_be_cut_off(engine)
    assert JobStore(engine, NoQueue()).page(after=None, limit=9, order="asc") == ([], False)

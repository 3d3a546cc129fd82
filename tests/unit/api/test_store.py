"""The store: jobs move from queued to finished, events are numbered, keys are idempotent. On real databases."""

from pathlib import Path

import pytest
from sqlalchemy import text

from api.events import Event
from api.ids import new_id
from api.store.database import open_database
from api.store.jobs import JobStatus, JobStore
from solon.errors import Busy, InvalidInput, NotFound
from tests.integration.postgres import DATABASES, new_database


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    return JobStore(open_database(new_database(request.param, tmp_path)))


def test_ids_sort_by_the_time_they_were_made():
    ids = [new_id("job") for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(len(made) == len("job_") + 26 for made in ids)


def test_a_database_is_opened_in_wal_mode(tmp_path: Path):
    with open_database(f"sqlite:///{tmp_path / 'x.db'}").connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


@pytest.mark.parametrize("url", ["nonsense", "nodb://x", "sqlite:////absent/folder/x.db"])
def test_a_database_that_cannot_be_opened_is_wrong_input(url: str):
    with pytest.raises(InvalidInput) as caught:
        open_database(url)
    assert caught.value.field == "database"
    assert url not in str(caught.value)


def test_the_oldest_waiting_job_is_claimed_once(store: JobStore):
    first, second = (store.create({"name": name}, max_queued=9) for name in "ab")
    claimed = [store.claim(), store.claim(), store.claim()]
    assert [job and job.id for job in claimed] == [first.id, second.id, None]
    assert store.get(first.id).status == JobStatus.RUNNING
    assert store.get(first.id).started_at


def test_a_full_queue_is_busy(store: JobStore):
    store.create({}, max_queued=1)
    with pytest.raises(Busy):
        store.create({}, max_queued=1)
    store.claim()
    store.create({}, max_queued=1)


def test_the_same_key_gives_the_same_job_and_another_body_is_refused(store: JobStore):
    job = store.create({}, max_queued=1, request_hash="h", idempotency_key="k")
    assert store.create({}, max_queued=1, request_hash="h", idempotency_key="k") == job
    with pytest.raises(InvalidInput):
        store.create({}, max_queued=1, request_hash="other", idempotency_key="k")


def test_cancelling_depends_on_where_the_job_stands(store: JobStore):
    queued = store.create({}, max_queued=9)
    assert store.cancel(queued.id).status == JobStatus.CANCELLED
    running = store.create({}, max_queued=9)
    store.claim()
    assert store.cancel(running.id).status == JobStatus.CANCELLING
    store.finish(running.id, JobStatus.FAILED, error={"message": "killed"})
    assert store.get(running.id).status == JobStatus.CANCELLED
    assert store.get(running.id).error is None
    done = store.create({}, max_queued=9)
    store.claim()
    store.finish(done.id, JobStatus.SUCCEEDED, result={"kl_nats": 1.0})
    assert store.cancel(done.id) == store.get(done.id)
    assert store.get(done.id).status == JobStatus.SUCCEEDED


def test_jobs_of_a_server_that_died_are_failed_with_a_reason(store: JobStore):
    running, waiting = (store.create({}, max_queued=9) for _ in range(2))
    store.claim()
    assert store.fail_interrupted("the server stopped", "submit it again") == 1
    assert store.get(running.id).error == {"message": "the server stopped", "remedy": "submit it again", "field": None}
    assert store.get(waiting.id).status == JobStatus.QUEUED


def test_pages_follow_each_other_in_both_orders(store: JobStore):
    ids = [store.create({}, max_queued=9).id for _ in range(5)]
    first, more = store.page(after=None, limit=2, order="asc")
    assert ([job.id for job in first], more) == (ids[:2], True)
    rest, more = store.page(after=ids[1], limit=3, order="asc")
    assert ([job.id for job in rest], more) == (ids[2:], False)
    newest, _ = store.page(after=None, limit=2, order="desc")
    assert [job.id for job in newest] == [ids[4], ids[3]]


def test_events_are_numbered_within_their_job(store: JobStore):
    one, two = (store.create({}, max_queued=9).id for _ in range(2))
    for job_id in (one, two, one):
        store.append(job_id, Event(type="progress", step="01-label", done=3, total=9, metrics={"loss": 0.5}))
    assert [event.id for event in store.events(one)] == [1, 2]
    assert [event.id for event in store.events(one, after=1)] == [2]
    assert store.events(two)[0].event.metrics == {"loss": 0.5}


def test_an_unknown_job_is_not_found(store: JobStore):
    with pytest.raises(NotFound):
        store.get("job_x")

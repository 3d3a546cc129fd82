"""The store: jobs move from queued to finished, events are numbered, keys are idempotent. On real databases."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from api.events import Event
from api.ids import new_id
from api.lifecycle import JobStatus, Wish
from api.store.database import open_database
from api.store.jobs import JobStore
from api.store.runs import Lines, RunStore
from api.store.workers import WorkerStore
from solon.errors import Busy, InvalidInput, NotFound
from tests.integration.postgres import DATABASES, new_database
from tests.unit.api.queues import NoQueue


@pytest.fixture
def queue() -> NoQueue:
    return NoQueue()


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path, queue: NoQueue) -> JobStore:
    return JobStore(open_database(new_database(request.param, tmp_path)), queue)


@pytest.fixture
def runs(store: JobStore) -> RunStore:
    return RunStore(store._engine)


def begun(store: JobStore, runs: RunStore) -> str:
    """Id of a running job."""
    job = store.create({"name": "x", "steps": [{"type": "label"}, {"type": "dpo"}]}, max_queued=9)
    assert runs.begin(job.id, 1) == []
    return job.id


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


def test_a_job_is_queued_with_its_row_or_not_at_all(store: JobStore, queue: NoQueue, monkeypatch: pytest.MonkeyPatch):
    job = store.create({"steps": []}, max_queued=9, priority=7)
    assert queue.queued == [(job.id, 1, 7)]

    def broken(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(NoQueue, "enqueue", broken)
    with pytest.raises(ConnectionError):
        store.create({}, max_queued=9)
    assert [each.id for each in store.page(after=None, limit=9, order="asc")[0]] == [job.id]


def test_a_full_queue_is_busy(store: JobStore, runs: RunStore):
    job = store.create({}, max_queued=1)
    with pytest.raises(Busy):
        store.create({}, max_queued=1)
    runs.begin(job.id, 1)
    store.create({}, max_queued=1)


def test_the_same_key_gives_the_same_job_and_another_body_is_refused(store: JobStore):
    job = store.create({}, max_queued=1, request_hash="h", idempotency_key="k")
    assert store.create({}, max_queued=1, request_hash="h", idempotency_key="k") == job
    with pytest.raises(InvalidInput):
        store.create({}, max_queued=1, request_hash="other", idempotency_key="k")


def test_cancelling_depends_on_where_the_job_stands(store: JobStore, runs: RunStore, queue: NoQueue):
    queued = store.create({}, max_queued=9)
    assert store.wish(queued.id, Wish.CANCEL).status == JobStatus.CANCELLED
    assert queue.withdrawn == [(queued.id, 1)]
    assert runs.begin(queued.id, 1) is None
    running = begun(store, runs)
    assert store.wish(running, Wish.CANCEL).status == JobStatus.CANCELLING
    assert runs.settle(running, 1, "failed", {"message": "killed"}).status == JobStatus.CANCELLED
    assert store.get(running).error is None
    done = begun(store, runs)
    runs.settle(done, 1, "done", {"kl_nats": 1.0})
    assert store.wish(done, Wish.CANCEL) == store.get(done)
    assert store.get(done).status == JobStatus.SUCCEEDED


def test_a_resumed_job_is_another_run_of_which_the_earlier_one_knows_nothing(
    store: JobStore, runs: RunStore, queue: NoQueue
):
    job_id = begun(store, runs)
    done = {"kind": "done", "detail": {}}
    runs.record(job_id, 1, Lines(0, 9, outcome=done), 1)
    runs.record(job_id, 2, Lines(0, 9, outcome={"kind": "failed", "detail": {"message": "spent"}}), 1)
    assert runs.settle(job_id, 1, "failed", {"message": "spent"}).error == {
        "message": "spent",
        "remedy": "",
        "field": None,
    }
    assert store.wish(job_id, Wish.RESUME).status == JobStatus.QUEUED
    assert queue.queued[-1] == (job_id, 2, 100)
    assert runs.begin(job_id, 1) is None
    assert runs.settle(job_id, 1, "done", {}).status == JobStatus.QUEUED
    assert runs.begin(job_id, 2) == [1]
    assert runs.begin(job_id, 2) == [1]
    assert runs.step(job_id, 2).outcome is None
    assert [each.event.type for each in store.events(job_id)] == [
        "job_started",
        "run_failed",
        "job_resumed",
        "job_started",
    ]


def test_lines_count_once_whoever_stores_them(store: JobStore, runs: RunStore):
    job_id = begun(store, runs)
    spend = {"judge": {"calls": 2, "prompt_tokens": 10, "completion_tokens": 1, "cost_usd": None}}
    lines = Lines(0, 50, events=[Event(type="step_started", step="01-label")], spent=spend)
    assert runs.record(job_id, 1, lines, 1).cursor == 50
    assert runs.record(job_id, 1, lines, 1).cursor == 50
    assert len(store.events(job_id)) == 2
    assert store.get(job_id).cost == {"judge": {"calls": 2, "prompt_tokens": 10, "completion_tokens": 1}}
    assert store.get(job_id).cost_usd is None


def test_events_have_no_gap_and_no_repeat_under_two_writers(store: JobStore, runs: RunStore):
    job_id, total = begun(store, runs), 60

    def write(writer: int) -> None:
        """Two who both think that the step is theirs, and one who asks for things meanwhile."""
        cursor = 0
        while cursor < total:
            event = Event(type="progress", step="01-label", done=cursor + 1, message=f"{writer}")
            cursor = runs.record(job_id, 1, Lines(cursor, cursor + 1, events=[event]), 1).cursor

    def ask() -> None:
        for launch in range(1, 11):
            runs.count_failure(job_id, 2, "02-dpo", launch, "lost")

    with ThreadPoolExecutor(3) as threads:
        for each in [*(threads.submit(write, number) for number in range(2)), threads.submit(ask)]:
            each.result(60)
    events = store.events(job_id)
    assert [event.id for event in events] == list(range(1, total + 12))
    assert [event.event.done for event in events if event.event.type == "progress"] == list(range(1, total + 1))
    assert runs.step(job_id, 2).attempts == 10


def test_a_curve_that_is_trained_again_replaces_its_points(store: JobStore, runs: RunStore):
    job_id = begun(store, runs)
    for turn, loss in enumerate((0.9, 0.5)):
        point = Event(type="metrics", step="02-dpo", message="model", done=1, total=2, metrics={"loss": loss})
        made = Event(
            type="checkpoint", step="02-dpo", message="x/checkpoint-1", done=1, detail={"series": "02-dpo/model"}
        )
        runs.record(job_id, 2, Lines(turn, turn + 1, events=[made], metrics=[point]), 1)
    (kept,) = store.metrics(job_id, series=None, after=0, limit=9)
    assert kept.metrics == {"loss": 0.5}
    assert [event.event.type for event in store.events(job_id)] == ["job_started", "checkpoint"]
    assert [each.kept for each in store.checkpoints(job_id, after=0, limit=9)] == [True]
    runs.record(job_id, 2, Lines(2, 3, events=[Event(type="step_finished", step="02-dpo")]), 1)
    assert [each.kept for each in store.checkpoints(job_id, after=0, limit=9)] == [False]


def test_a_worker_that_falls_silent_or_says_goodbye_is_dead_until_it_speaks(store: JobStore):
    workers = WorkerStore(store._engine)
    for name in ("a", "b"):
        workers.beat(name, host="here", process=1, queues=("label", "train"))
    assert workers.dead(60) == []
    assert [(each.id, each.queues) for each in workers.alive(60)] == [
        ("a", ("label", "train")),
        ("b", ("label", "train")),
    ]
    workers.leave("b")
    assert workers.dead(60) == ["b"]
    workers.forget(["a", "b"], 60)
    assert (workers.dead(60), [each.id for each in workers.alive(60)]) == ([], ["a"])
    workers.beat("b", host="here", process=2, queues=("label",))
    assert [each.id for each in workers.alive(60)] == ["a", "b"]


def test_pages_follow_each_other_in_both_orders(store: JobStore):
    ids = [store.create({}, max_queued=9).id for _ in range(5)]
    first, more = store.page(after=None, limit=2, order="asc")
    assert ([job.id for job in first], more) == (ids[:2], True)
    rest, more = store.page(after=ids[1], limit=3, order="asc")
    assert ([job.id for job in rest], more) == (ids[2:], False)
    newest, _ = store.page(after=None, limit=2, order="desc")
    assert [job.id for job in newest] == [ids[4], ids[3]]


def test_an_unknown_job_is_not_found(store: JobStore):
    with pytest.raises(NotFound):
        store.get("job_x")

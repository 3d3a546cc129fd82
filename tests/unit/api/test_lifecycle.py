"""The life of a job: a state machine over the real stores, against a model of a few lines."""

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Engine

from api.lifecycle import ASKED_TO_STOP, AT_WORK, FINISHED, JobStatus, Wish, settled, wished
from api.store.database import open_database
from api.store.jobs import JobStore
from api.store.runs import Lines, RunStore
from solon.errors import Conflict
from tests.unit.api.queues import NoQueue

STEPS = 2


@cache
def database() -> Engine:
    """One for all examples; each has a job of its own."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    engine = open_database(f"sqlite:///{Path(folder.name) / 'x.db'}")
    atexit.register(engine.dispose)
    return engine


class Life(RuleBasedStateMachine):
    """A worker and a user who do what they like to one job, in any order."""

    @initialize()
    def submitted(self) -> None:
        engine, self.queue = database(), NoQueue()
        self.store, self.runs = JobStore(engine, self.queue), RunStore(engine)
        recipe = {"name": "x", "steps": [{"type": "label"}] * STEPS}
        self.id = self.store.create(recipe, max_queued=999).id
        self.done, self.cursor, self.expected = set[int](), dict.fromkeys(range(1, STEPS + 1), 0), JobStatus.QUEUED

    @property
    def run(self) -> int:
        return self.store.get(self.id).run

    def ask(self, wish: Wish) -> None:
        before = self.store.get(self.id)
        try:
            after = self.store.wish(self.id, wish)
        except Conflict:
            assert self.store.get(self.id) == before
            with pytest.raises(Conflict):
                wished(before.status, wish)
            return
        self.expected = wished(before.status, wish)
        assert after.status == self.expected
        assert after == before or after.status != before.status

    @rule()
    def cancel(self) -> None:
        finished = self.store.get(self.id).status in FINISHED
        before = self.store.get(self.id)
        self.ask(Wish.CANCEL)
        assert not finished or self.store.get(self.id) == before

    @rule()
    def pause(self) -> None:
        self.ask(Wish.PAUSE)

    @rule()
    def resume(self) -> None:
        self.ask(Wish.RESUME)

    @rule()
    def begin(self) -> None:
        before = self.store.get(self.id).status
        done = self.runs.begin(self.id, self.run)
        wanted = before in AT_WORK | {JobStatus.QUEUED}
        assert done == (sorted(self.done) if wanted else None)
        self.expected = JobStatus.RUNNING if before == JobStatus.QUEUED else before

    @rule()
    def begin_a_run_of_long_ago(self) -> None:
        assert self.runs.begin(self.id, self.run + 1) is None
        assert self.runs.begin(self.id, self.run - 1) is None

    @precondition(lambda self: self.store.get(self.id).status in AT_WORK and len(self.done) < STEPS)
    @rule()
    def finish_a_step_twice(self) -> None:
        number = len(self.done) + 1
        start = self.cursor[number]
        lines = Lines(start, start + 10, outcome={"kind": "done", "detail": {"n": number}})
        for _ in range(2):
            assert self.runs.record(self.id, number, lines, 1).outcome == lines.outcome
        self.cursor[number] = start + 10
        self.done.add(number)

    def settle(self, kind: str) -> None:
        before = self.store.get(self.id).status
        self.runs.settle(self.id, self.run, kind, {"message": kind})
        self.expected = settled(before, kind) if before in AT_WORK else before

    @precondition(lambda self: len(self.done) == STEPS)
    @rule()
    def settle_done(self) -> None:
        self.settle("done")

    @rule()
    def settle_failed(self) -> None:
        self.settle("failed")

    @precondition(lambda self: self.store.get(self.id).status in ASKED_TO_STOP)
    @rule()
    def settle_stopped(self) -> None:
        self.settle("stopped")

    @invariant()
    def the_job_is_where_it_should_be(self) -> None:
        if not hasattr(self, "id"):
            return
        job = self.store.get(self.id)
        assert job.status == self.expected
        assert (job.finished_at is not None) == (job.status in FINISHED)
        assert (job.error is not None) == (job.status == JobStatus.FAILED)
        assert (job.result is not None) == (job.status == JobStatus.SUCCEEDED)
        numbers = [event.id for event in self.store.events(self.id)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert [run for _, run, _ in self.queue.queued] == list(range(1, job.run + 1))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("status", list(JobStatus))
def test_cancelling_leads_to_an_end_from_everywhere_and_ends_nothing_twice(status: JobStatus):
    after = wished(status, Wish.CANCEL)
    assert after in FINISHED | {JobStatus.CANCELLING}
    assert (after == status) == (status in FINISHED | {JobStatus.CANCELLING})


@pytest.mark.parametrize("status", sorted(AT_WORK))
@pytest.mark.parametrize("outcome", ["done", "failed", "stopped"])
def test_work_that_ended_leaves_no_job_at_work(status: JobStatus, outcome: str):
    after = settled(status, outcome)
    assert after in FINISHED | {JobStatus.PAUSED}
    assert (after == JobStatus.CANCELLED) == (status == JobStatus.CANCELLING)

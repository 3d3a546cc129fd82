"""Following a step, tick by tick, with a scripted launcher: adopted, tried again, given up, stopped."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from api.durable import Durable, Executor
from api.following import Following, Outcome, StepOfRun
from api.launching import Launch, Task
from api.lifecycle import Wish
from api.store.database import open_database
from api.store.jobs import JobStore
from api.store.runs import RunStore
from solon.errors import Failed
from solon.settings import Settings
from tests.unit.api.queues import NoQueue


@dataclass
class Script:
    """A launcher whose process does what the test says."""

    launch: Launch = field(default_factory=lambda: Launch("none"))
    stopped: int = 0
    began: list[int] = field(default_factory=list[int])

    def ensure(self, task: Task, number: int) -> None:
        """It runs."""
        task.folder.mkdir(parents=True, exist_ok=True)
        self.began.append(number)
        self.launch = Launch("running", number)

    def poll(self, task: Task) -> Launch:
        """As the test says."""
        return self.launch

    def stop(self, task: Task) -> None:
        """Counted."""
        self.stopped += 1


class Scene:
    """A running job of one step, and those who follow it."""

    def __init__(self, folder: Path) -> None:
        overrides = [f"artifacts={folder / 'artifacts'}", "jobs.attempts=2", "jobs.backoff_s=0.001"]
        self.settings = Settings.load(overrides=overrides, environment={})
        engine = open_database(f"sqlite:///{folder / 'x.db'}")
        self.engine = engine
        self.store, self.runs, self.script = JobStore(engine, NoQueue()), RunStore(engine), Script()
        self.job = self.store.create({"name": "x", "steps": [{"type": "label"}]}, max_queued=9).id
        self.runs.begin(self.job, 1)
        self.folder = self.settings.artifacts / "jobs" / self.job / "runs" / "01"

    def follower(self) -> Following:
        return Following(self.runs, self.script, self.settings, StepOfRun(self.job, 1, 1, "01-label"))

    def says(self, *events: dict[str, object]) -> None:
        with (self.folder / "events.jsonl").open("a") as output:
            output.writelines(json.dumps(event) + "\n" for event in events)

    def told(self) -> list[str]:
        return [event.event.type for event in self.store.events(self.job)][1:]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_step_is_begun_followed_and_over_once_its_process_is_gone(scene: Scene):
    follower = scene.follower()
    assert follower.tick() is None
    assert scene.script.began == [1]
    scene.says({"type": "step_started", "step": "01-label"}, {"type": "run_finished", "detail": {"n": 1}})
    assert follower.tick() is None  # it still holds its accelerator
    scene.script.launch = Launch("ended", 1, 0)
    assert follower.tick() == Outcome("done", {"n": 1})
    assert scene.told() == ["step_started"]


def test_an_error_names_the_step_and_no_place_of_the_server_outside_of_the_artifacts(scene: Scene):
    follower = scene.follower()
    follower.tick()
    folder = scene.settings.artifacts.resolve() / "jobs" / scene.job / "out"
    detail = {"remedy": f"an operator reads {folder}/02-dpo/run.log", "field": None, "kind": "TrainingFailed"}
    scene.says({"type": "run_failed", "message": f"OSError: {folder}/x", "detail": detail})
    scene.script.launch = Launch("ended", 1, 1)
    outcome = follower.tick()

    inside = f"artifacts/jobs/{scene.job}/out"
    assert outcome == Outcome(
        "failed",
        {
            "message": f"OSError: {inside}/x",
            "remedy": f"an operator reads {inside}/02-dpo/run.log",
            "field": None,
            "kind": "TrainingFailed",
            "step": "01-label",
        },
    )


def test_whoever_comes_next_goes_on_after_the_last_stored_line(scene: Scene):
    scene.follower().tick()
    scene.says({"type": "step_started", "step": "01-label"})
    scene.follower().tick()
    scene.says({"type": "step_finished", "step": "01-label"})
    scene.follower().tick()
    scene.follower().tick()
    assert scene.script.began == [1]
    assert scene.told() == ["step_started", "step_finished"]


def test_a_line_that_is_half_written_waits_for_its_end(scene: Scene):
    follower = scene.follower()
    follower.tick()
    (scene.folder / "events.jsonl").write_text('{"type": "step_st')
    follower.tick()
    assert scene.told() == []
    (scene.folder / "events.jsonl").write_text('{"type": "step_started"}\n')
    follower.tick()
    assert scene.told() == ["step_started"]


def test_ticks_of_progress_are_thinned_and_the_last_one_is_kept(scene: Scene):
    follower = scene.follower()
    follower.tick()
    for done in range(1, 101):
        scene.says({"type": "progress", "step": "01-label", "done": done, "total": 100})
        follower.tick()
    ticks = [event.event.done for event in scene.store.events(scene.job) if event.event.type == "progress"]
    assert ticks[-1] == 100
    assert len(ticks) < 20


def test_a_process_that_is_lost_is_begun_again_and_one_that_dies_only_so_often(scene: Scene):
    follower = scene.follower()
    follower.tick()
    scene.script.launch = Launch("lost", 1)
    follower.tick()
    scene.script.launch = Launch("ended", 2, -9, "lease lapsed")
    follower.tick()
    assert scene.script.began == [1, 2, 3]
    for _ in range(200):
        if scene.script.launch.state == "running":
            scene.script.launch = Launch("ended", scene.script.launch.number, -9)
        if (outcome := follower.tick()) is not None:
            break
    else:
        pytest.fail("it was tried for ever")
    assert outcome.kind == "failed"
    assert scene.script.began == [1, 2, 3, 4]
    assert scene.told() == ["retrying", "retrying"]


@pytest.mark.parametrize("wish", [Wish.CANCEL, Wish.PAUSE])
def test_only_what_somebody_asked_to_stop_is_stopped(scene: Scene, wish: Wish):
    follower = scene.follower()
    follower.tick()
    follower.tick()
    assert scene.script.stopped == 0
    scene.store.wish(scene.job, wish)
    assert follower.tick() is None
    assert scene.script.stopped == 1
    scene.script.launch = Launch("ended", 1, 143, "stopped")
    assert follower.tick() == Outcome("stopped")
    assert scene.script.began == [1]


def test_a_launcher_that_fails_is_asked_again(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    follower = scene.follower()
    with monkeypatch.context() as broken:
        broken.setattr(Script, "poll", lambda *_: (_ for _ in ()).throw(Failed("the cluster is down")))
        with pytest.raises(Failed):
            follower.tick()
    assert follower.tick() is None
    assert scene.script.began == [1]


@pytest.mark.parametrize(("wish", "status"), [(None, "failed"), (Wish.PAUSE, "paused"), (Wish.CANCEL, "cancelled")])
def test_a_run_that_nobody_will_go_on_with_has_stopped_and_has_failed_only_where_nobody_asked(
    scene: Scene, wish: Wish | None, status: str
):
    class Nobody(Durable):
        """A queue from which the run was withdrawn."""

        def withdraw(self, job_id: str, run: int) -> None:
            """Done before."""

        def over(self, job_id: str, run: int) -> bool:
            """Nobody has it."""
            return True

    if wish is not None:
        scene.store.wish(scene.job, wish)
    Executor(scene.engine, scene.settings, "worker-1").reconcile(Nobody(scene.engine))
    job = scene.store.get(scene.job)
    assert job.status == status
    assert (job.error is not None) is (status == "failed")

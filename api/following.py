"""Follows one step of a job: its process is begun, adopted or stopped, and what it says is stored, tick by tick.

A tick blocks shortly and may fail anywhere; the next one, by whichever worker, goes on from what is stored. So a worker
that dies loses nothing, and one that comes in its place adopts the process that lives.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from api.events import Event
from api.launching import Launch, Launcher, Task
from api.lifecycle import ASKED_TO_STOP
from api.store.runs import Lines, RunStore, Step, added
from api.supervisor import write_whole
from solon.documents import write_yaml
from solon.settings import Settings

_AT_ONCE = 4 << 20
"""Bytes of output that one tick stores at most."""
_LONGEST_PAUSE_S = 300.0
_PROGRESS_S = 1.0
"""Least time between two stored ticks of progress of a step."""


@dataclass(frozen=True)
class Outcome:
    """What a step came to."""

    kind: Literal["done", "failed", "stopped"]
    """`stopped`: somebody asked for it."""
    detail: dict[str, Any] = field(default_factory=dict[str, Any])


def job_folder(settings: Settings, job_id: str) -> Path:
    """Where a job writes."""
    return (settings.artifacts / "jobs" / job_id).resolve()


@dataclass(frozen=True)
class StepOfRun:
    """Which step of which run."""

    job_id: str
    run: int
    number: int
    """From 1, in the order of all that the recipe plans."""
    name: str
    """Such as `02-dpo`."""


class Following:
    """One worker's view of one step of one run of a job."""

    def __init__(self, runs: RunStore, launcher: Launcher, settings: Settings, step: "StepOfRun") -> None:
        self._runs, self._launcher, self._settings = runs, launcher, settings
        self._job_id, self._run, self._number, self._name = step.job_id, step.run, step.number, step.name
        self._progress_at = 0.0
        self._again_at = 0.0
        self._folder = folder = job_folder(settings, step.job_id)
        self._artifacts = {str(settings.artifacts.resolve()), str(settings.artifacts.absolute())}
        module = (sys.executable, "-m", "api.step_process", str(folder), str(step.number))
        command = (*settings.jobs.launcher.prefix, *module)
        self._task = Task(f"{step.job_id}-{step.number:02d}", folder / "runs" / f"{step.number:02d}", command)

    def tick(self) -> Outcome | None:
        """What the step came to, once its process is gone; None as long as it is at work."""
        launch = self._launcher.poll(self._task)  # before the output: of one that has ended, all of it is read
        step = self._store_output(launch.number)
        if launch.state == "running":
            if step.run != self._run or step.status in ASKED_TO_STOP:
                self._launcher.stop(self._task)
            return None
        if step.outcome is not None:
            return Outcome(**step.outcome)
        if step.run != self._run or step.status in ASKED_TO_STOP:
            return Outcome("stopped")
        return self._begin(launch, step)

    def _begin(self, launch: Launch, step: Step) -> Outcome | None:
        """Start the process, at once or after a pause; failed where it was tried often enough."""
        if launch.state == "ended" and launch.why is None:
            said = f"the step's process ended with code {launch.code} and without a word"
            if launch.number > step.counted:
                step = self._runs.count_failure(self._job_id, self._number, self._name, launch.number, said)
                pause_s = self._settings.jobs.backoff_s * 2 ** (step.attempts - 1)
                self._again_at = time.monotonic() + min(pause_s, _LONGEST_PAUSE_S)
            if step.attempts >= self._settings.jobs.attempts:
                remedy = f"an operator reads {self._task.folder / 'log.txt'}"
                return Outcome("failed", self._told({"message": said, "remedy": remedy}))
            if time.monotonic() < self._again_at:
                return None
        self._write_request()
        self._launcher.ensure(self._task, launch.number + 1)
        return None

    def _told(self, detail: dict[str, Any]) -> dict[str, Any]:
        """An error for the client: it names the step, and of paths of the server what is below `artifacts`."""

        def shown(text: Any) -> Any:
            for place in self._artifacts if isinstance(text, str) else ():
                text = text.replace(f"{place}/", "artifacts/")
            return text

        return {name: shown(value) for name, value in detail.items()} | {"step": self._name}

    def _write_request(self) -> None:
        """What the process reads: the recipe, the settings as they are now, and what the run has paid so far."""
        job = self._runs.job(self._job_id)
        self._task.folder.mkdir(parents=True, exist_ok=True)
        _write(self._folder / "recipe.yaml", write_yaml(job.recipe))
        settings = self._settings.model_copy(update={"project": job.project})
        _write(self._folder / "settings.yaml", write_yaml(settings.model_dump(mode="json")))
        write_whole(self._folder / "spent.json", self._runs.run_cost(self._job_id))

    def _store_output(self, launch: int) -> Step:
        """What is known of the step, after storing what its process said since."""
        step = self._runs.step(self._job_id, self._number)
        while step.outcome is None:
            lines = self._read(step.cursor)
            if lines.end == lines.start:
                break
            step = self._runs.record(self._job_id, self._number, lines, launch)
        return step

    def _read(self, start: int) -> Lines:
        """Whole lines from `start` on; ticks of progress between others are dropped, and wait where they come alone."""
        try:
            with (self._task.folder / "events.jsonl").open("rb") as file:
                file.seek(start)
                text = file.read(_AT_ONCE)
        except FileNotFoundError:
            return Lines(start, start)
        whole = text[: text.rfind(b"\n") + 1]
        events, metrics, spent = _parsed(whole)
        only_ticks = bool(events) and all(event.type == "progress" for event in events)
        now = time.monotonic()
        if only_ticks and now - self._progress_at < _PROGRESS_S and not _complete(events[-1]):
            return Lines(start, start)
        if events and events[-1].type == "progress":
            self._progress_at = now
        outcome = next((found for event in events if (found := _outcome(event)) is not None), None)
        if outcome is not None and outcome["kind"] == "failed":
            outcome["detail"] = self._told(outcome["detail"])
        told = tuple(event for event in events if _outcome(event) is None)
        return Lines(start, start + len(whole), told, tuple(metrics), spent, outcome)


def _complete(event: Event) -> bool:
    return event.total is not None and event.done >= event.total


def _parsed(text: bytes) -> tuple[list[Event], list[Event], dict[str, dict[str, Any]]]:
    """Events, points of curves, and what was paid; a line that is none of them is the process's own affair."""
    events: list[Event] = []
    metrics: list[Event] = []
    spent: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        try:
            event = Event.model_validate_json(line)
        except ValidationError:
            continue
        if event.type == "metrics":
            metrics.append(event)
        elif event.type == "spent":
            spent = added(spent, event.detail)
        else:
            if event.type == "progress" and events and events[-1].type == "progress" and events[-1].step == event.step:
                events.pop()
            events.append(event)
    return events, metrics, spent


def _outcome(event: Event) -> dict[str, Any] | None:
    """How the step ended, if this is its last word."""
    if event.type == "run_finished":
        return {"kind": "done", "detail": event.detail}
    if event.type == "run_failed":
        return {"kind": "failed", "detail": {"message": event.message} | event.detail}
    return None


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}")
    scratch.touch(mode=0o600)  # the settings hold the database's password, which nobody else is to read
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)

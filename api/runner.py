"""Runs queued jobs one at a time, each as a child process whose JSON lines become the job's events.

Thin on purpose: it lives inside the server, and a job does not outlive it.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from api.events import Event
from api.store.jobs import Job, JobStatus, JobStore
from solon.documents import write_yaml
from solon.settings import Settings

Command = Callable[[Job, Path], Sequence[str]]
"""The command line that does a job inside a folder."""

_LINE_LIMIT = 1 << 22
_POLL_S = 1.0
_GRACE_S = 10.0

INTERRUPTED = ("the server stopped while the job was running", "submit the recipe again")


def align_command(job: Job, folder: Path) -> Sequence[str]:
    """`solon align` on the recipe and settings that `Runner` wrote into the job's folder."""
    settings = str(folder / "settings.yaml")
    recipe, out = str(folder / "recipe.yaml"), str(folder / "out")
    return (sys.executable, "-m", "api.cli", "--config", settings, "align", recipe, "--out", out, "--json")


class Runner:
    """The one worker of a server. Use as `async with Runner(store, settings)`."""

    def __init__(self, store: JobStore, settings: Settings, command: Command = align_command) -> None:
        self._store = store
        self._settings = settings
        self._command = command
        self._wake = asyncio.Event()
        self._running: tuple[str, Process] | None = None
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Runner":
        await asyncio.to_thread(self._store.fail_interrupted, *INTERRUPTED)
        self._worker = asyncio.create_task(self._work(), name="job runner")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    @property
    def alive(self) -> bool:
        """Whether queued jobs will be run."""
        return self._worker is not None and not self._worker.done()

    def wake(self) -> None:
        """Look for a queued job now."""
        self._wake.set()

    async def cancel(self, job_id: str, *, project: str) -> Job:
        """The job after asking it to stop; its whole process group is ended in the background."""
        job = await asyncio.to_thread(self._store.cancel, job_id, project=project)
        if job.status == JobStatus.CANCELLING and self._running is not None and self._running[0] == job_id:
            _signal_group(self._running[1], signal.SIGTERM)
        return job

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            job = await asyncio.to_thread(self._store.claim)
            if job is not None:
                await self._run(job)
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), _POLL_S)
            except TimeoutError:
                continue

    async def _run(self, job: Job) -> None:
        """Do one job from claim to finish; an error of the child is the job's, never the runner's."""
        folder = (self._settings.artifacts / "jobs" / job.id).resolve()
        try:
            ended = await self._child(job, folder)
        except asyncio.CancelledError:
            error = {"message": INTERRUPTED[0], "remedy": INTERRUPTED[1], "field": None}
            await asyncio.to_thread(self._store.finish, job.id, JobStatus.FAILED, error=error)
            raise
        except OSError as error:
            ended = _failure(f"the job's process could not be started: {error.strerror}", "check `artifacts`")
        status = JobStatus.SUCCEEDED if ended.type == "run_finished" else JobStatus.FAILED
        failed = status == JobStatus.FAILED
        await asyncio.to_thread(
            self._store.finish,
            job.id,
            status,
            error={"message": ended.message, "remedy": "", "field": None} | ended.detail if failed else None,
            result=None if failed else ended.detail,
        )

    async def _child(self, job: Job, folder: Path) -> Event:
        """The event that ended the job's process."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "recipe.yaml").write_text(write_yaml(job.recipe), encoding="utf-8")
        settings = self._settings.model_copy(update={"project": job.project})
        (folder / "settings.yaml").write_text(write_yaml(settings.model_dump(mode="json")), encoding="utf-8")
        with (folder / "log.txt").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                *self._command(job, folder),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                start_new_session=True,
                limit=_LINE_LIMIT,
                env={name: value for name, value in os.environ.items() if not name.startswith("SOLON_")},
            )
        self._running = (job.id, child)
        try:
            if (await asyncio.to_thread(self._store.get, job.id)).status == JobStatus.CANCELLING:
                _signal_group(child, signal.SIGTERM)
            last = await self._follow(job.id, child)
        finally:
            self._running = None
            await _end_group(child)
        if child.returncode == 0 and last is not None and last.type == "run_finished":
            return last
        if last is not None and last.type == "run_failed":
            return last
        return _failure(f"the job's process ended with code {child.returncode}", f"see {folder / 'log.txt'}")

    async def _follow(self, job_id: str, child: Process) -> Event | None:
        """Store the child's events until it closes its output; the last one."""
        last: Event | None = None
        assert child.stdout is not None  # noqa: S101 - we asked for a pipe
        async for line in child.stdout:
            try:
                event = Event.model_validate_json(line)
            except ValidationError:
                continue  # not an event; the log has what the child had to say
            last = (await asyncio.to_thread(self._store.append, job_id, event)).event
        await child.wait()
        return last


def _failure(message: str, remedy: str) -> Event:
    detail: dict[str, Any] = {"remedy": remedy, "field": None}
    return Event(type="run_failed", message=message, detail=detail)


def _signal_group(child: Process, number: signal.Signals) -> None:
    """Signal the child and all that it started, by process group."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


async def _end_group(child: Process) -> None:
    """Nothing of the child's process group is left: asked first, then killed."""
    if child.returncode is None:
        _signal_group(child, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), _GRACE_S)
    _signal_group(child, signal.SIGKILL)
    await child.wait()

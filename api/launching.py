"""Launchers: where the processes of jobs run. Three verbs, so that all launchers are interchangeable.

    ensure(task, number)   launch `number` of the task is begun, unless it was begun before or another one is alive
    poll(task)             what became of the latest launch; renews the lease of one that runs
    stop(task)             the running launch will end soon; `poll` says when it has

Each may be called again, by any worker, after any crash. The state is in the task's folder, which workers and
processes share.
"""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from api import supervisor
from api.supervisor import read_whole
from solon.errors import InvalidInput

GRACE_S = 3.0
"""How long a process that was asked to end has, before it is killed."""


@dataclass(frozen=True)
class Task:
    """A process to run in a folder of its own."""

    name: str
    """Tells it from all others, for schedulers."""
    folder: Path
    command: tuple[str, ...]


@dataclass(frozen=True)
class Launch:
    """What became of the latest launch of a task."""

    state: Literal["none", "running", "ended", "lost"]
    """`ended`: its exit was recorded; `lost`: it is gone without one, since its host or its supervisor died."""
    number: int = 0
    """Of the launch, from 1."""
    code: int = 0
    """Exit code, of one that ended; negative: the signal."""
    why: str | None = None
    """Why it was ended; None: it ended by itself."""


class Launcher(Protocol):
    """Where processes run."""

    def ensure(self, task: Task, number: int) -> None:
        """Begin launch `number`, unless it was begun before or another one is alive."""
        ...

    def poll(self, task: Task) -> Launch:
        """The latest launch."""
        ...

    def stop(self, task: Task) -> None:
        """Ask the running launch to end."""
        ...


class LocalLauncher:
    """Processes on this machine, each under a supervisor."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s

    def ensure(self, task: Task, number: int) -> None:
        """Begin launch `number`, unless it was begun before or another one is alive."""
        prepare(task)
        with (task.folder / "log.txt").open("ab") as log:
            started = subprocess.Popen(
                supervised(task, number, self._lease_s),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment(),
            )
        reap(started)

    def poll(self, task: Task) -> Launch:
        """The latest launch."""
        return polled(task)

    def stop(self, task: Task) -> None:
        """Ask the running launch to end; its supervisor sees to it."""
        ask_to_stop(task)
        launch = read_whole(task.folder / "launch.json")
        if launch.get("host") == socket.gethostname() and held(task):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(launch["supervisor"], signal.SIGTERM)


def supervised(task: Task, number: int, lease_s: float) -> list[str]:
    """The command line of the task's supervisor."""
    script = str(Path(supervisor.__file__).resolve())
    return [
        sys.executable,
        "-I",
        "-S",
        script,
        str(task.folder),
        str(number),
        f"{lease_s}",
        f"{GRACE_S}",
        *task.command,
    ]


def prepare(task: Task) -> None:
    """The folder with a fresh lease; raises InvalidInput where it cannot be written."""
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
        renew(task)
    except OSError as error:
        raise InvalidInput(
            f"cannot write the job's folder: {error.strerror}", field="artifacts", remedy="see that its disk has room"
        ) from error


def renew(task: Task) -> None:
    """Whoever follows the task still wants it."""
    (task.folder / "lease").touch()


def ask_to_stop(task: Task) -> None:
    """Leave the word for the supervisor, wherever it runs."""
    (task.folder / "stop").touch()


def polled(task: Task) -> Launch:
    """The latest launch, by what its supervisor left; its lease is renewed."""
    if not task.folder.is_dir():
        return Launch("none")
    alive = held(task)  # before the files: one that ends now has written its exit
    launch, ended = read_whole(task.folder / "launch.json"), read_whole(task.folder / "exit.json")
    number = int(launch.get("number", 0))
    if alive:
        renew(task)
        return Launch("running", number)
    if number and ended.get("number") == number:
        return Launch("ended", number, int(ended["code"]), ended["why"])
    return Launch("lost", number) if number else Launch("none")


def held(task: Task) -> bool:
    """Whether a supervisor or its process lives."""
    try:
        with (task.folder / "run.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def environment() -> dict[str, str]:
    """Ours, without the settings in it: a process gets its settings as a file."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SOLON_")}


def reap(process: "subprocess.Popen[Any]") -> None:
    """Forget a process that outlives us, and let no zombie stay while we live."""
    threading.Thread(target=process.wait, name=f"reap {process.pid}", daemon=True).start()

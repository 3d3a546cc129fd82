"""`solon worker`: does jobs until it is told to stop.

A worker has an identity that it keeps over restarts, so that it takes up at once what it had: the first free one of
ARTIFACTS/workers/, each a file that is locked as long as its worker lives. It says every few seconds that it lives;
what a silent worker had is taken over by the others, wherever they run.

Told to stop (SIGTERM), it claims nothing more and says goodbye. Processes of steps go on and are adopted by whoever
comes next; nobody waits for a training to end.
"""

import fcntl
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from api.durable import QUEUES, Durable, Executor
from api.logs import set_up
from api.redaction import Secrets
from api.store.database import open_database
from api.store.workers import WorkerStore
from solon.errors import InvalidInput
from solon.settings import Settings

_RECONCILE_EVERY = 10
"""Heartbeats between two looks for jobs that came to nothing."""

_log = logging.getLogger(__name__)


def work(
    settings: Settings, queues: Sequence[str] = QUEUES, *, ready: Callable[[str], None], stop: threading.Event
) -> None:
    """Do jobs until `stop` is set; `ready` gets the worker's id once it takes jobs."""
    if unknown := [name for name in queues if name not in QUEUES]:
        raise InvalidInput(f"there is no queue {unknown[0]!r}", field="--queue", remedy=f"queues: {', '.join(QUEUES)}")
    set_up(Secrets.of(settings), settings.logs.level, settings.logs.format)
    engine = open_database(settings.database)
    with identity(settings.artifacts / "workers") as worker_id:
        Working(engine, settings, worker_id, tuple(queues)).run(ready, stop)
    engine.dispose()


class Working:
    """A worker at work."""

    def __init__(self, engine: Engine, settings: Settings, worker_id: str, queues: tuple[str, ...]) -> None:
        self._settings, self._id, self._queues = settings.jobs, worker_id, queues
        self._executor = Executor(engine, settings, worker_id, queues)
        self._workers, self._durable = WorkerStore(engine), Durable(engine)

    def run(self, ready: Callable[[str], None], stop: threading.Event) -> None:
        """Work until told to stop."""
        self._beat()
        self._executor.start()
        try:
            ready(self._id)
            beats = 0
            while not stop.wait(self._settings.heartbeat_s):
                self._look_around(beats)
                beats += 1
        finally:
            self._executor.stop()
            self._workers.leave(self._id)

    def _beat(self) -> None:
        self._workers.beat(self._id, host=socket.gethostname(), process=os.getpid(), queues=self._queues)

    def _look_around(self, beats: int) -> None:
        """Say that we live, and see who does not; a database that does not answer is asked again next time."""
        try:
            self._beat()
            dead = [one for one in self._workers.dead(self._settings.dead_after_s) if one != self._id]
            if dead:
                self._executor.take_over(dead)
                self._workers.forget(dead, self._settings.dead_after_s)
            if beats % _RECONCILE_EVERY == 0:
                self._executor.reconcile(self._durable)
        except Exception as error:  # noqa: BLE001 - the heart must not stop; whatever fails is told and tried again
            _log.warning("a worker's round failed: %s", error)


@contextmanager
def identity(folder: Path) -> Generator[str]:
    """The first identity that no living worker has; ours until the block ends or this process does."""
    folder.mkdir(parents=True, exist_ok=True)
    place = 1
    while True:
        with (folder / f"{place}").open("a+") as file:
            if _locked(file.fileno()):
                file.seek(0)
                name = file.read().strip()
                if not name:
                    name = f"worker-{secrets.token_hex(6)}"
                    file.write(name)
                    file.flush()
                yield name
                return
        place += 1


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stopped_by_signals() -> threading.Event:
    """Set by SIGTERM and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop

"""Workers inside `solon serve`: child processes, so that labelling never slows down an answer.

They get the server's settings on standard input; when that pipe closes, for whatever reason, they drain and end. A
worker that dies is started again.
"""

import asyncio
import logging
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from types import TracebackType
from typing import Self

from api.launching import environment
from solon.settings import Settings

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
_LIVED_S = 30.0
"""A worker that lived so long did not die of how it was started."""
_GRACE_S = 10.0

_log = logging.getLogger(__name__)


class EmbeddedWorkers:
    """Worker processes of a server. Use as `async with EmbeddedWorkers(settings, 1)`."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings, self._count = settings, count
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._keep_one(), name=f"worker {n}") for n in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def alive(self) -> bool:
        """Whether as many workers as wanted are kept alive."""
        return not any(task.done() for task in self._tasks)

    async def _keep_one(self) -> None:
        """One worker after another, with ever longer pauses where they die young."""
        pause_s, now = _FIRST_PAUSE_S, asyncio.get_running_loop().time
        while True:
            began = now()
            child = await self._start()
            try:
                code = await child.wait()
            finally:
                await _end(child)
            pause_s = _FIRST_PAUSE_S if now() - began > _LIVED_S else min(pause_s * 2, _LONGEST_PAUSE_S)
            _log.warning("a worker ended with code %s; another one starts in %.1f s", code, pause_s)
            await asyncio.sleep(pause_s)

    async def _start(self) -> Process:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "api.embedded"),
            stdin=PIPE,
            stdout=DEVNULL,
            start_new_session=True,  # an interrupt at the terminal is for the server, which tells its workers
            env=environment(),
        )
        assert child.stdin is not None  # noqa: S101 - we asked for a pipe
        with suppress(ConnectionError):
            child.stdin.write(self._settings.model_dump_json().encode() + b"\n")
            await child.stdin.drain()
        return child


async def _end(child: Process) -> None:
    """The worker is gone: told first, then killed."""
    if child.returncode is not None:
        return
    assert child.stdin is not None  # noqa: S101 - we asked for a pipe
    child.stdin.close()
    try:
        await asyncio.wait_for(child.wait(), _GRACE_S)
    except TimeoutError:
        child.kill()
        await child.wait()


def main() -> None:
    """A worker that lives as long as the pipe on its standard input."""
    from api.workers import stopped_by_signals, work

    line = sys.stdin.readline()
    if not line:
        return
    stop = stopped_by_signals()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, name="server's pipe", daemon=True).start()
    try:
        work(Settings.model_validate_json(line), ready=lambda _: None, stop=stop)
    except Exception:  # noqa: BLE001 - told as a line of the log; the server starts another worker
        _log.exception("the worker failed")
        sys.exit(1)


if __name__ == "__main__":
    main()

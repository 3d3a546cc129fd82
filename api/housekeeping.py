"""What a database need not keep: counts of minutes and days that are over, and deliveries that ended long ago."""

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

import structlog

EVERY_S: Final = 3600.0

log = structlog.stdlib.get_logger("solon.housekeeping")


class Housekeeper:
    """Use as `async with Housekeeper(chores)`: does all of them at once and then every hour."""

    def __init__(self, chores: Mapping[str, Callable[[], int]], every_s: float = EVERY_S) -> None:
        """Args:
        chores: by the name of what they remove; each blocks, and tells how many rows are gone.
        """
        self._chores = chores
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work(), name="housekeeping")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            for name, chore in self._chores.items():
                try:
                    gone = await asyncio.to_thread(chore)
                except Exception:  # the database may be away; an hour later it may be back
                    log.exception("housekeeping failed", what=name)
                    continue
                if gone:
                    log.info("removed", what=name, rows=gone)
            await asyncio.sleep(self._every_s)

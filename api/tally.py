"""What projects use where there is no limit: added up here and written once a second, so that no call waits for it.

A process that is killed loses the last second.
"""

import asyncio
import time
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from api.logs import logger
from api.store.usage import Sums, UsageStore, period_of
from solon.errors import SolonError

WRITTEN_EVERY_S: Final = 1.0

log = logger("solon.usage")


class Tally:
    """Sums that are not in the database yet. `add` and `write` belong to one event loop."""

    def __init__(self, usage: UsageStore) -> None:
        self._usage = usage
        self._sums: Sums = {}
        self._writing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def add(self, project: str, what: str, amount: float, now: float | None = None) -> None:
        """Count so much more of what the limit of this name counts."""
        if amount <= 0:
            return
        self._merge({(project, what, period_of(what, now or time.time()).name): amount})
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon(), name="tally")

    async def write(self) -> None:
        """All of it is in the database now, unless that does not answer: then it stays here until the next time."""
        async with self._lock:
            sums, self._sums = self._sums, {}
            if not sums:
                return
            try:
                await asyncio.to_thread(self._usage.add, sums)
            except (SolonError, SQLAlchemyError):
                self._merge(sums)
                log.exception("what was used is not written yet")

    async def close(self) -> None:
        """The last write."""
        async with self._lock:  # not while it writes
            if self._writing is not None:
                self._writing.cancel()
        await self.write()

    async def _write_soon(self) -> None:
        await asyncio.sleep(WRITTEN_EVERY_S)
        await self.write()

    def _merge(self, sums: Sums) -> None:
        for key, amount in sums.items():
            self._sums[key] = self._sums.get(key, 0.0) + amount

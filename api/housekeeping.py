"""What a database need not keep: counts of minutes and days that are over, and deliveries that ended long ago."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from api.background import Background
from api.logs import logger

EVERY_S: Final = 3600.0

log = logger("solon.housekeeping")


class Housekeeper(Background):
    """Use as `async with Housekeeper(chores)`: does all of them at once and then every hour."""

    def __init__(self, chores: Mapping[str, Callable[[], int]], every_s: float = EVERY_S) -> None:
        """Args:
        chores: by the name of what they remove; each blocks, and tells how many rows are gone.
        """
        self._chores = chores
        self._every_s = every_s

    async def work(self) -> None:
        """Do all chores, and again after a while."""
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

"""How a server ends: streams at once, other requests after a grace. `api.traffic` tells those that were cut short."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class CutShort(Exception):
    """The server ends before the request was answered."""


class Ending:
    """The requests that are being answered, so that they can be ended while all that they need is still there."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Timeout, Callable[[], bool]] = {}

    @asynccontextmanager
    async def request(self, is_stream: Callable[[], bool]) -> AsyncGenerator[None]:
        """One request for the length of the block, which raises CutShort where it is ended.

        The block is cancelled once and may clean up in peace.
        """
        limit = asyncio.timeout(None)
        self._open[limit] = is_stream
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if limit.expired():
                raise CutShort from error
            raise
        finally:
            del self._open[limit]

    async def after(self, grace_s: float) -> None:
        """End streams now, and after so many seconds what is still open."""
        self._end(streams=True)
        await asyncio.sleep(grace_s)
        self._end(streams=False)

    def _end(self, *, streams: bool) -> None:
        now = asyncio.get_running_loop().time()
        for limit, is_stream in list(self._open.items()):
            if not limit.expired() and (is_stream() or not streams):
                limit.reschedule(now)

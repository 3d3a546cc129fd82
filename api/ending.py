"""How a server ends: streams at once, other requests after a grace. They are told first, and cancelled then."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class _Open:
    is_stream: Callable[[], bool]
    tell: Callable[[], Awaitable[None]]


class Ending:
    """The requests that are being answered, so that they can be ended while all that they need is still there."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Timeout, _Open] = {}

    @asynccontextmanager
    async def request(self, is_stream: Callable[[], bool], tell: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
        """One request for the length of the block, which is left early where the server ends.

        The block is cancelled once and may take its time to clean up.

        Args:
            tell: answers in the block's place, before it is cancelled.
        """
        limit = asyncio.timeout(None)
        self._open[limit] = _Open(is_stream, tell)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            del self._open[limit]

    async def after(self, grace_s: float) -> None:
        """End streams now, and after so many seconds what is still open."""
        streams = {limit: request for limit, request in self._open.items() if request.is_stream()}
        ending = asyncio.gather(*(self._end(*each) for each in streams.items()))
        await asyncio.sleep(grace_s)
        rest = [each for each in self._open.items() if each[0] not in streams]
        await asyncio.gather(ending, *(self._end(*each) for each in rest))

    async def _end(self, limit: asyncio.Timeout, request: _Open) -> None:
        try:
            await request.tell()
        except OSError:  # the client is gone
            pass
        finally:
            if limit in self._open:
                limit.reschedule(asyncio.get_running_loop().time())

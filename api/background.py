"""Work that goes on beside the server's, as long as the server does."""

import asyncio
from types import TracebackType
from typing import Self


class Background:
    """Use as `async with`: `work` is done by a task beside the block, and cancelled with its end."""

    _task: asyncio.Task[None] | None = None

    async def work(self) -> None:
        """Goes on until it is cancelled."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.work(), name=type(self).__name__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

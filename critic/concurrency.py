"""Two ways to run work at the same time, both of which leave nothing running behind."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

ROWS_IN_FLIGHT = 64
"""Of a file: wide enough that a local server fills its batches while the judge works on other rows."""


async def together(work: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """The results of all of `work`, in its order; when one fails, the others are cancelled before that is raised."""
    coroutines = list(work)
    if len(coroutines) < 2:  # most often one: it needs no task of its own
        return [await each for each in coroutines]
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        await _cancel(tasks)
        raise


async def in_order(items: Iterable[T], work: Callable[[T], Awaitable[R]], *, width: int) -> AsyncGenerator[R]:
    """`work(item)` of each item, in the order of the items, with at most `width` begun and not yet yielded.

    Items are drawn only when there is room, so an endless iterator is fine. The first error ends it all.
    """
    begun: deque[asyncio.Future[R]] = deque()
    try:
        for item in items:
            if len(begun) >= width:
                yield await begun[0]
                begun.popleft()
            begun.append(asyncio.ensure_future(work(item)))
        while begun:
            yield await begun[0]
            begun.popleft()
    finally:
        await _cancel(begun)


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

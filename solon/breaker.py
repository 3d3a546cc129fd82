"""A circuit breaker: while a server is down, one request at a time finds out whether it is back, and the others wait.

Without it, every request in flight retries on its own, and a server that comes back is met by all of them. Waiting
requests are not failed: a job whose judge is down pauses, and goes on where it was when the judge answers.

The pattern: Nygard 2007, Release It!, chapter 5.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from solon.errors import ModelUnavailable

Notice = Callable[["Outage"], None]
"""Told when an outage begins and when it ends; must return at once."""

_MAX_WAIT_S: Final = 15.0


@dataclass(frozen=True)
class Outage:
    """A server went away, or came back."""

    model: str
    """Registered name."""
    over: bool
    seconds: float = 0.0
    """How long it was away, once it is over."""


@dataclass
class Turn:
    """One attempt that the breaker let through."""

    found_down: bool = False

    def down(self) -> None:
        """The attempt found no server."""
        self.found_down = True


class Breaker:
    """Lets attempts through while the server is up, and one probe at a time while it is not."""

    def __init__(
        self, name: str, *, first_wait_s: float = 0.5, max_wait_s: float = _MAX_WAIT_S, notice: Notice | None = None
    ) -> None:
        """Args:
        name: of the registered model behind it.
        first_wait_s: between the first two probes, doubling up to `max_wait_s`.
        """
        self.probes = 0
        """Attempts made while the server was known to be down."""
        self._name = name
        self._first_wait_s, self._max_wait_s = first_wait_s, max_wait_s
        self._notice = notice
        self._down_since: float | None = None
        self._wait_s = first_wait_s
        self._probe_at = 0.0
        self._probing = False
        self._outages = 0
        self._changed = asyncio.Condition()

    @property
    def _is_up(self) -> bool:
        return self._down_since is None

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncGenerator[Turn]:
        """Waits for permission to make one attempt; what it found decides about the others.

        Raises ModelUnavailable when the server is still away at `deadline`, in seconds of `time.monotonic`.
        """
        probe = await self._admitted(deadline)
        turn, finished, outages = Turn(), False, self._outages
        try:
            yield turn
            finished = True
        finally:
            # An attempt from before an outage says nothing of the server that came back after it, and one that was
            # cancelled or broke off found nothing out. Only the probe ends an outage.
            news = turn.found_down and (probe or outages == self._outages)
            await self._settle(down=news, up=finished and not turn.found_down, probe=probe)

    async def _admitted(self, deadline: float) -> bool:
        """Whether the attempt is the probe; returns when it may be made."""
        if self._is_up:
            return False
        async with self._changed:
            while self._down_since is not None:
                now = time.monotonic()
                if now >= deadline:
                    raise ModelUnavailable(
                        f"model {self._name!r} cannot be reached: no connection for {now - self._down_since:.1f} s",
                        remedy=f"start its server, or correct the endpoint of models.{self._name} in the settings",
                    )
                if not self._probing and now >= self._probe_at:
                    self._probing = True
                    self.probes += 1
                    return True
                until = deadline if self._probing else min(deadline, self._probe_at)
                await self._wait(until - now)
            return False

    async def _wait(self, seconds: float) -> None:
        """Until something changes, or the time is over."""
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _settle(self, *, down: bool, up: bool, probe: bool) -> None:
        if not down and not probe and self._is_up:
            return
        async with self._changed:
            now = time.monotonic()
            if probe:
                self._probing = False
            if down and self._down_since is None:
                self._down_since, self._wait_s = now, self._first_wait_s
                self._outages += 1
                self._probe_at = now + self._wait_s
                self._tell(Outage(self._name, over=False))
            elif down and probe:
                self._wait_s = min(self._wait_s * 2, self._max_wait_s)
                self._probe_at = now + self._wait_s
            elif up and probe and self._down_since is not None:
                away_s, self._down_since = now - self._down_since, None
                self._tell(Outage(self._name, over=True, seconds=away_s))
            self._changed.notify_all()

    def _tell(self, outage: Outage) -> None:
        if self._notice is not None:
            self._notice(outage)

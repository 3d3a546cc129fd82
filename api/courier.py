"""Delivers events to webhooks: one task of the server, which finds in the database what earlier servers left.

An event is delivered at least once, in no certain order: a receiver goes by `webhook-id`. Several servers share the
work, since what one has taken the others do not see until its lease ends.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from api.background import Background
from api.logs import logger
from api.store.webhooks import LEASE_S, Errand, WebhookStore
from api.webhook_signing import Signer
from solon import __version__
from solon.egress import Answer, Egress, Forbidden, Rules, Unreachable
from solon.errors import InvalidInput
from solon.replies import retry_after_s
from solon.settings import Settings

_AT_ONCE: Final = 16
_POLL_S: Final = 2.0
_JITTER: Final = 0.1
_GONE: Final = 410
_SLOWER: Final = frozenset({429, 502, 503, 504})

log = logger("solon.webhooks")


class Courier(Background):
    """Use as `async with Courier(store, settings)`."""

    def __init__(self, store: WebhookStore, settings: Settings, signer: Callable[[], Signer] | None = None) -> None:
        self._store = store
        self._options = settings.webhooks
        self._signer = signer or (lambda: Signer.of(settings))
        timeout_s = min(self._options.timeout_s, LEASE_S / 2)  # or another would take it meanwhile
        self._egress = Egress(Rules(allow_private=settings.egress.allow_private), timeout_s=timeout_s)
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look for due deliveries now."""
        self._wake.set()

    async def deliver_due(self) -> int:
        """How many deliveries were attempted."""
        errands = await asyncio.to_thread(self._store.take, _AT_ONCE)
        await asyncio.gather(*(self._deliver(errand) for errand in errands))
        return len(errands)

    async def work(self) -> None:
        """Deliver what is due, again and again."""
        while True:
            self._wake.clear()
            try:
                if await self.deliver_due():
                    continue
            except Exception:  # the database may be away: what was taken is due again when its lease ends
                log.exception("deliveries failed")
            try:
                await asyncio.wait_for(self._wake.wait(), _POLL_S)
            except TimeoutError:
                continue

    async def _deliver(self, errand: Errand) -> None:
        """One attempt and its entry; whatever a receiver does is its delivery's, never the courier's."""
        try:
            answer = await self._send(errand)
        except (Forbidden, Unreachable, InvalidInput) as error:
            await self._missed(errand, None, error.message)
            return
        if 200 <= answer.status < 300:
            await asyncio.to_thread(self._store.arrived, errand, answer.status)
        else:
            await self._missed(errand, answer, f"HTTP {answer.status}")

    async def _send(self, errand: Errand) -> Answer:
        headers = {"Content-Type": "application/json", "User-Agent": f"solon-webhooks/{__version__}"}
        delivery = errand.delivery
        headers |= self._signer().headers(
            delivery.webhook, errand.secrets, delivery.message, int(time.time()), errand.body
        )
        return await self._egress.post(errand.url, errand.body.encode(), headers)

    async def _missed(self, errand: Errand, answer: Answer | None, problem: str) -> None:
        gone = answer is not None and answer.status == _GONE
        await asyncio.to_thread(
            self._store.missed,
            errand,
            answer=None if answer is None else answer.status,
            problem=problem,
            retry_at=None if gone else self._next(errand.delivery.attempts, answer),
            disable_after_s=None if gone else self._options.disable_after_s,
        )

    def _next(self, attempts: int, answer: Answer | None) -> float | None:
        """When to try again after so many attempts; None: no more."""
        waits = self._options.retries_s
        if attempts > len(waits):
            return None
        wait = waits[attempts - 1] * (1 + random.uniform(0, _JITTER))
        asked = retry_after_s(answer.retry_after) if answer is not None and answer.status in _SLOWER else None
        return time.time() + max(wait, min(asked or 0.0, max(waits)))

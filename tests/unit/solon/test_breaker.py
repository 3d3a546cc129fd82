"""A server that goes away: one request asks whether it is back, the others wait, and nobody storms it."""

import asyncio
import time

import httpx2
import pytest

from solon.breaker import Breaker, Outage
from solon.chat import OpenAIChat, RetryPolicy
from solon.errors import ModelUnavailable
from solon.records import Message

HELLO = (Message(role="user", content="Hello"),)
REPLY = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}


class Server:
    """Counts requests; refuses connections, or answers 503, while it is down."""

    def __init__(self, *, down_s: float, up_first: int = 0, status: int | None = None) -> None:
        self.seen: list[float] = []
        self.answered = 0
        self._status = status
        self._up_first = up_first
        self._down_s = down_s
        self._went_down: float | None = None

    @property
    def refused(self) -> int:
        """Requests that found no server."""
        return len(self.seen) - self.answered

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        self.seen.append(now)
        if self.answered >= self._up_first:
            self._went_down = self._went_down or now
            if now - self._went_down < self._down_s:
                if self._status is not None:
                    return httpx2.Response(self._status)
                raise httpx2.ConnectError("refused", request=request)
        self.answered += 1
        return httpx2.Response(200, json=REPLY)


def chat(server: Server, patience_s: float, told: list[Outage] | None = None) -> OpenAIChat:
    return OpenAIChat(
        "judge",
        "http://judge:8000/v1",
        "m",
        max_concurrency=64,
        retry=RetryPolicy(budget_s=0.2, first_wait_s=0.02, max_wait_s=0.1, patience_s=patience_s),
        transport=httpx2.MockTransport(server),
        notice=(told if told is not None else []).append,
    )


@pytest.mark.parametrize("status", [None, 503])
async def test_a_job_pauses_while_its_judge_is_down_and_every_request_is_answered_in_the_end(status: int | None):
    server, told = Server(down_s=0.6, up_first=5, status=status), list[Outage]()
    async with chat(server, 30.0, told) as model:
        replies = await asyncio.gather(*(model.complete(HELLO, max_tokens=1) for _ in range(200)))
    assert len(replies) == server.answered == 200
    # Those in flight when it went down found out for themselves; then one probe at a time, ever more seldom.
    assert server.refused <= 64 + 8
    assert [outage.over for outage in told] == [False, True]
    assert told[1].seconds >= 0.5


async def test_a_server_that_stays_away_fails_every_request_without_a_storm():
    server = Server(down_s=60.0)
    async with chat(server, 0.6) as model:
        results = await asyncio.gather(
            *(model.complete(HELLO, max_tokens=1) for _ in range(64)), return_exceptions=True
        )
    assert {type(result) for result in results} == {ModelUnavailable}
    assert len(server.seen) <= 64 + 8


async def test_while_it_is_down_there_is_one_probe_at_a_time():
    breaker = Breaker("judge", first_wait_s=0.01, max_wait_s=0.02)
    async with breaker.turn(time.monotonic() + 1) as turn:
        turn.down()
    inside = most = 0

    async def attempt() -> None:
        nonlocal inside, most
        async with breaker.turn(time.monotonic() + 5) as turn:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            if breaker.probes < 3:
                turn.down()
            inside -= 1

    first = [asyncio.create_task(attempt()) for _ in range(3)]
    await asyncio.gather(*first)
    assert most == 1
    assert breaker.probes == 3


async def test_a_cancelled_probe_lets_another_one_ask():
    breaker = Breaker("judge", first_wait_s=0.01)
    async with breaker.turn(time.monotonic() + 1) as turn:
        turn.down()
    entered = asyncio.Event()

    async def hang() -> None:
        async with breaker.turn(time.monotonic() + 5):
            entered.set()
            await asyncio.sleep(60)

    probe = asyncio.create_task(hang())
    await entered.wait()
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    async with asyncio.timeout(2), breaker.turn(time.monotonic() + 5) as turn:
        assert not turn.found_down


async def test_patience_is_for_a_server_that_has_answered_before():
    async with chat(Server(down_s=60.0), 60.0) as model:
        async with asyncio.timeout(10):
            with pytest.raises(ModelUnavailable, match="cannot be reached"):
                await model.complete(HELLO, max_tokens=1)


async def test_without_patience_a_dead_server_fails_within_the_budget():
    server = Server(down_s=60.0)
    retry = RetryPolicy(budget_s=0.2, first_wait_s=0.02)
    async with OpenAIChat(
        "judge", "http://judge:8000/v1", "m", retry=retry, transport=httpx2.MockTransport(server)
    ) as model:
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            await model.complete(HELLO, max_tokens=1)


async def test_attempts_from_before_an_outage_neither_end_it_nor_begin_another():
    told = list[Outage]()
    breaker = Breaker("judge", first_wait_s=0.01, notice=told.append)
    gate = asyncio.Event()

    async def slow(down: bool) -> None:
        async with breaker.turn(time.monotonic() + 5) as turn:
            await gate.wait()
            if down:
                turn.down()

    early = [asyncio.create_task(slow(down)) for down in (False, True)]
    await asyncio.sleep(0)
    async with breaker.turn(time.monotonic() + 5) as turn:
        turn.down()
    async with breaker.turn(time.monotonic() + 5):  # the probe: it is back
        pass
    gate.set()
    await asyncio.gather(*early)
    assert [outage.over for outage in told] == [False, True]

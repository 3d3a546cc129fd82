"""The client of `api.client` for coroutines: the same requests, errors and patience."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from pydantic import ValidationError

from api import calls, sending
from api.sending import Answer, Call, Patience
from api.services import Page
from api.store.jobs import FINISHED, Job, JobEvent

Item = TypeVar("Item")


class AsyncService:
    """The REST API behind `address`. Use as `async with AsyncService(address) as service`."""

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        patience: Patience | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        """Args: see `api.client.Service`."""
        self.address = address.rstrip("/")
        self._patience = patience or Patience()
        self._sleep = sleep
        self._http = httpx2.AsyncClient(
            base_url=self.address,
            timeout=sending.TIMEOUT,
            trust_env=False,
            transport=transport,
            headers=sending.headers(key),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def send(self, call: Call[Answer]) -> Answer:
        """The answer to one of `api.calls`; raises a SolonError that says what the service said."""
        tries = 0
        while True:
            tries += 1
            try:
                outcome = await self._http.request(call.method, call.path, **call.options())
            except httpx2.InvalidURL as error:
                raise sending.unreachable(self.address) from error
            except httpx2.DecodingError as error:
                raise sending.strange() from error
            except httpx2.TransportError as error:
                outcome = error
            wait_s = self._patience.wait_s(tries, call, outcome)
            if isinstance(outcome, httpx2.Response) and (outcome.is_success or wait_s is None):
                return call.read(outcome)
            if wait_s is None:
                assert isinstance(outcome, httpx2.TransportError)  # noqa: S101 - a response has been returned
                raise sending.unreachable(self.address) from outcome
            await self._sleep(wait_s)

    async def each(self, call: Call[Page[Item]]) -> AsyncGenerator[Item]:
        """The items of a list, page after page."""
        while True:
            page = await self.send(call)
            for item in page.data:
                yield item
            if not page.has_more:
                return
            call = sending.after(call, page)

    async def follow(self, job_id: str, after: int = 0) -> AsyncGenerator[JobEvent]:
        """Events until the job is finished; a broken stream is taken up where it broke."""
        while True:
            async for event in self._stream(job_id, after):
                after = event.id
                yield event
            if (await self.send(calls.job(job_id))).status in FINISHED:
                return

    stream = follow

    async def wait(self, job_id: str) -> Job:
        """The job once it is finished, however it ended."""
        async for _ in self.follow(job_id):
            pass
        return await self.send(calls.job(job_id))

    async def _stream(self, job_id: str, after: int) -> AsyncGenerator[JobEvent]:
        path, headers = sending.at("/v1/jobs/{job}/events/stream", job=job_id), {"Last-Event-ID": str(after)}
        try:
            async with self._http.sse(path, headers=headers, timeout=60.0) as source:
                if source.response.is_error:
                    await source.response.aread()
                    raise sending.refusal(source.response)
                async for message in source:
                    if message.event == "end":
                        return
                    yield JobEvent.model_validate_json(message.data)
        except (httpx2.SSEError, httpx2.DecodingError, ValidationError) as error:
            raise sending.strange() from error
        except (httpx2.RemoteProtocolError, httpx2.ReadTimeout, httpx2.ReadError):
            return
        except httpx2.TransportError as error:
            raise sending.unreachable(self.address) from error

"""A client of a running service, for programs and for the command line. Its failures are our own errors.

    from api import calls
    from api.client import Service

    with Service("http://127.0.0.1:8000") as service:                      # key: SOLON_API_KEY
        found = service.send(calls.label([{"prompt": "Hello?"}], constitution="civic", judge="starter-judge"))
        for preference in service.each(calls.preferences(status=["ok"], metadata={"team": "red"})): ...
        job = service.wait(service.submit(recipe).id)

`api.calls` has one function for each request; `api.async_client` sends the same from a coroutine. A request that met a
full queue or a server that went away is sent again, with the same Idempotency-Key.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx2
from pydantic import ValidationError

from api import calls, sending
from api.recipes import Recipe
from api.sending import Answer, Call, Patience
from api.services import Page
from api.store.jobs import FINISHED, Job, JobEvent

Item = TypeVar("Item")
_LEFT_OUT: Final = "Solon-Left-Out"
"""The header of every export."""


class Service:
    """The REST API behind `address`. Use as `with Service(address) as service`."""

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        patience: Patience | None = None,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args:
        key: API key; None takes SOLON_API_KEY.
        patience: when a request is sent again.
        transport, sleep: stand in for the network and the clock in tests.
        """
        self.address = address.rstrip("/")
        self._patience = patience or Patience()
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=self.address,
            timeout=sending.TIMEOUT,
            trust_env=False,
            transport=transport,
            headers=sending.headers(key),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def send(self, call: Call[Answer]) -> Answer:
        """The answer to one of `api.calls`; raises a SolonError that says what the service said."""
        tries = 0
        while True:
            tries += 1
            try:
                outcome = self._http.request(call.method, call.path, **call.options())
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
            self._sleep(wait_s)

    def each(self, call: Call[Page[Item]]) -> Iterator[Item]:
        """The items of a list, page after page."""
        while True:
            page = self.send(call)
            yield from page.data
            if not page.has_more:
                return
            call = sending.after(call, page)

    def export(self, dataset_id: str, out: Path, form: str, container: str = "jsonl") -> dict[str, int]:
        """How many pairs were left out, by reason; the dataset is at `out`, for another program."""
        path = sending.at("/v1/datasets/{dataset}/export", dataset=dataset_id)
        params = {"format": form, "container": container}
        try:
            with self._http.stream("GET", path, params=params) as response:
                if response.is_error:
                    response.read()
                    raise sending.refusal(response)
                if _LEFT_OUT not in response.headers:
                    raise sending.strange()
                partial = out.with_name(f".{out.name}.partial")
                with partial.open("wb") as file:
                    for part in response.iter_bytes():
                        file.write(part)
        except httpx2.TransportError as error:
            raise sending.unreachable(self.address) from error
        os.replace(partial, out)
        told = response.headers[_LEFT_OUT]
        left_out = (each.partition("=") for each in told.split(", ") if "=" in each)
        return {why: int(count) for why, _, count in left_out}

    def submit(self, recipe: Recipe, key: str | None = None) -> Job:
        """The queued job; the same key and recipe give the same job."""
        return self.send(calls.submit(recipe, key))

    def job(self, job_id: str) -> Job:
        """The job as it stands."""
        return self.send(calls.job(job_id))

    def jobs(self, limit: int, **wanted: Any) -> list[Job]:
        """The newest jobs; `wanted` are query parameters of GET /v1/jobs."""
        return self.send(calls.jobs(limit=limit, **wanted)).data

    def wish(self, job_id: str, verb: str) -> Job:
        """The job after asking it to stop, to pause or to go on: `cancel`, `pause`, `resume`."""
        return self.send(calls.wish(job_id, verb))

    def cancel(self, job_id: str) -> Job:
        """The job after asking it to stop."""
        return self.wish(job_id, "cancel")

    def events(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """The events so far, in order."""
        yield from self.each(calls.events(job_id, after=after, limit=1000))

    def follow(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """Events until the job is finished; a broken stream is taken up where it broke."""
        while True:
            for event in self._stream(job_id, after):
                after = event.id
                yield event
            if self.job(job_id).status in FINISHED:
                return

    stream = follow

    def wait(self, job_id: str) -> Job:
        """The job once it is finished, however it ended."""
        for _ in self.follow(job_id):
            pass
        return self.job(job_id)

    def _stream(self, job_id: str, after: int) -> Iterator[JobEvent]:
        """Events from one connection; it ends when the job does, or when the connection breaks."""
        path, headers = sending.at("/v1/jobs/{job}/events/stream", job=job_id), {"Last-Event-ID": str(after)}
        try:
            with self._http.sse(path, headers=headers, timeout=60.0) as source:
                if source.response.is_error:
                    source.response.read()
                    raise sending.refusal(source.response)
                for message in source:
                    if message.event == "end":
                        return
                    yield JobEvent.model_validate_json(message.data)
        except (httpx2.SSEError, httpx2.DecodingError, ValidationError) as error:
            raise sending.strange() from error
        except (httpx2.RemoteProtocolError, httpx2.ReadTimeout, httpx2.ReadError):
            return
        except httpx2.TransportError as error:
            raise sending.unreachable(self.address) from error

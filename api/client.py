"""A client of a running service, for `solon job` and `solon align --server`. Its failures are our own errors."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx2

from api.lifecycle import Wish
from api.recipes import Recipe
from api.store.jobs import FINISHED, Job, JobEvent
from solon.errors import Busy, Conflict, Failed, InvalidInput, NotFound, SolonError, UsageError

_TIMEOUT = httpx2.Timeout(30.0, read=60.0)
_BY_STATUS: dict[int, type[SolonError]] = {404: NotFound, 409: Conflict, 422: InvalidInput}


class Service:
    """The REST API behind `address`. Use as `with Service(address) as service`."""

    def __init__(self, address: str, *, transport: httpx2.BaseTransport | None = None) -> None:
        self.address = address.rstrip("/")
        self._http = httpx2.Client(base_url=self.address, timeout=_TIMEOUT, trust_env=False, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, recipe: Recipe) -> Job:
        """The queued job."""
        return Job.model_validate(self._call("POST", "/v1/jobs", json={"recipe": recipe.model_dump(mode="json")}))

    def job(self, job_id: str) -> Job:
        """The job as it stands."""
        return Job.model_validate(self._call("GET", f"/v1/jobs/{job_id}"))

    def jobs(self, limit: int, **wanted: Any) -> list[Job]:
        """The newest jobs; `wanted` are query parameters of GET /v1/jobs."""
        found = self._call("GET", "/v1/jobs", params={"limit": limit} | wanted)
        return [Job.model_validate(job) for job in found["data"]]

    def wish(self, job_id: str, wish: Wish) -> Job:
        """The job after asking it to stop, to pause or to go on."""
        return Job.model_validate(self._call("POST", f"/v1/jobs/{job_id}/{wish}"))

    def events(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """The events so far, in order."""
        more = True
        while more:
            page = self._call("GET", f"/v1/jobs/{job_id}/events", params={"after": after, "limit": 1000})
            yield from (JobEvent.model_validate(event) for event in page["data"])
            after, more = page["last_id"] or after, page["has_more"]

    def follow(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """Events until the job is finished; a broken stream is taken up where it broke."""
        while True:
            for event in self._stream(job_id, after):
                after = event.id
                yield event
            if self.job(job_id).status in FINISHED:
                return

    def _stream(self, job_id: str, after: int) -> Iterator[JobEvent]:
        path, headers = f"/v1/jobs/{job_id}/events/stream", {"Last-Event-ID": str(after)}
        try:
            with self._http.sse(path, headers=headers) as source:
                if source.response.is_error:
                    source.response.read()
                    self._refused(source.response)
                for message in source:
                    if message.event == "end":
                        return
                    yield JobEvent.model_validate_json(message.data)
        except httpx2.RemoteProtocolError:
            return
        except httpx2.ReadTimeout:
            return
        except httpx2.TransportError as error:
            self._unreachable(error)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            self._unreachable(error)
        if response.is_error:
            self._refused(response)
        return response.json()

    def _unreachable(self, error: Exception) -> NoReturn:
        raise Failed(
            f"there is no service at {self.address}", remedy="start one with `solon serve`, or give --server URL"
        ) from error

    def _refused(self, response: httpx2.Response) -> NoReturn:
        try:
            problem: dict[str, Any] = response.json()
        except ValueError:
            problem = {}
        message = problem.get("detail") or f"the service answered HTTP {response.status_code}"
        remedy, field = problem.get("remedy", ""), problem.get("field")
        if response.status_code == 429:
            raise Busy(message, retry_after_s=float(response.headers.get("Retry-After", "1")))
        kind = _BY_STATUS.get(response.status_code, UsageError if response.status_code < 500 else Failed)
        raise kind(message, remedy=remedy, field=field)

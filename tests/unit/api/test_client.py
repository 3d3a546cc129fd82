"""The client of a running service: its failures are our own errors, a broken stream is taken up again."""

import json
from collections.abc import Callable

import httpx2
import pytest

from api.client import Service
from api.store.jobs import JobStatus
from solon.errors import Busy, Failed, InvalidInput, NotFound, SolonError

JOB = {"id": "job_1", "status": "succeeded", "recipe": {}, "created_at": 1.0}


def service(answer: Callable[[httpx2.Request], httpx2.Response]) -> Service:
    return Service("http://127.0.0.1:1", transport=httpx2.MockTransport(answer))


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (422, InvalidInput), (429, Busy), (500, Failed), (400, SolonError)]
)
def test_a_problem_becomes_our_own_error(status: int, kind: type[SolonError]):
    problem = {"detail": "what is wrong", "remedy": "what to do", "field": "recipe.steps"}
    client = service(lambda _: httpx2.Response(status, json=problem, headers={"Retry-After": "7"}))
    with client, pytest.raises(kind, match="what is wrong") as caught:
        client.job("job_1")
    assert caught.value.remedy in ("what to do", "try again in 7 s")


def test_an_answer_that_is_no_problem_is_still_one_line():
    with service(lambda _: httpx2.Response(502, text="<html>")) as client, pytest.raises(Failed, match="HTTP 502"):
        client.jobs(1)


def test_no_service_says_how_to_start_one():
    def refuse(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with service(refuse) as client, pytest.raises(Failed, match="there is no service at") as caught:
        client.jobs(1)
    assert "solon serve" in caught.value.remedy


def event(number: int) -> str:
    body = {"id": number, "job_id": "job_1", "created_at": 1.0, "event": {"type": "progress", "done": number}}
    return f"event: progress\ndata: {json.dumps(body)}\nid: {number}\n\n"


def test_a_stream_that_breaks_is_taken_up_where_it_broke():
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if not request.url.path.endswith("/stream"):
            status = "running" if len(asked) < 2 else "succeeded"
            return httpx2.Response(200, json=JOB | {"status": status})
        asked.append(request.headers["Last-Event-ID"])
        text = event(1) + event(2) if len(asked) == 1 else event(3) + "event: end\ndata: {}\n\n"
        return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})

    with service(answer) as client:
        assert [each.id for each in client.follow("job_1")] == [1, 2, 3]
        assert client.job("job_1").status == JobStatus.SUCCEEDED
    assert asked == ["0", "2"]

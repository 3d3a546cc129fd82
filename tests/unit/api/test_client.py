"""The client of a running service: its failures are our own errors, a broken stream is taken up again."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from api import calls
from api.async_client import AsyncService
from api.client import Service
from api.sending import Patience
from api.store.jobs import JobStatus
from solon.errors import Busy, Conflict, Failed, InvalidInput, NotFound, SolonError

JOB = {"id": "job_1", "status": "succeeded", "recipe": {}, "created_at": 1.0}


def service(answer: Callable[[httpx2.Request], httpx2.Response]) -> Service:
    return Service("http://127.0.0.1:1", transport=httpx2.MockTransport(answer), sleep=lambda _: None)


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


@pytest.mark.parametrize("body", ["<html>Hello</html>", "[]", '{"status": "ok"}', ""])
def test_another_program_at_the_address_is_told_apart(body: str, tmp_path: Path):
    with service(lambda _: httpx2.Response(200, text=body, headers={"Content-Type": "text/html"})) as client:
        asked: list[Callable[[], object]] = [
            lambda: client.jobs(1),
            lambda: client.job("job_1"),
            lambda: list(client.follow("job_1")),
            lambda: client.export("ds_1", tmp_path / "out.jsonl", "trl_preference"),
        ]
        for ask in asked:
            with pytest.raises(Failed, match="does not answer like Solon") as caught:
                ask()
            assert "address" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_json_but_no_problem_is_one_line():
    with service(lambda _: httpx2.Response(404, json=["no"])) as client, pytest.raises(NotFound, match="HTTP 404"):
        client.job("job_1")


@pytest.mark.parametrize("name", ["", "../models", ".", "..", "a/b"])
def test_what_is_no_id_is_refused_before_it_is_sent(name: str):
    with service(lambda _: pytest.fail("it was sent")) as client:
        for ask in (client.job, client.cancel, lambda job: list(client.follow(job))):
            with pytest.raises(InvalidInput, match="is not an id") as caught:
                ask(name)
            assert (caught.value.field, bool(caught.value.remedy)) == ("job", True)
    for call in (calls.model, calls.preference, calls.dataset, calls.find_audit):
        with pytest.raises(InvalidInput, match="is not an id"):
            call(name)


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


def page(*ids: str, more: bool) -> httpx2.Response:
    data = [JOB | {"id": each} for each in ids]
    body = {"object": "list", "data": data, "first_id": ids[0], "last_id": ids[-1], "has_more": more}
    return httpx2.Response(200, json=body)


def test_a_list_is_read_page_after_page():
    asked: list[dict[str, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(dict(request.url.params))
        return page("job_1", "job_2", more=True) if len(asked) == 1 else page("job_3", more=False)

    with service(answer) as client:
        assert [job.id for job in client.each(calls.jobs(limit=2))] == ["job_1", "job_2", "job_3"]
    assert asked == [{"limit": "2"}, {"limit": "2", "after": "job_2"}]


def test_a_request_that_met_a_passing_failure_is_sent_again_with_the_same_key():
    keys: list[str] = []
    waited: list[float] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            return httpx2.Response(429, json={}, headers={"Retry-After": "7"})
        if len(keys) == 2:
            raise httpx2.ReadError("gone")
        if len(keys) == 3:
            return httpx2.Response(409, json={}, headers={"Retry-After": "1"})
        return httpx2.Response(202, json=JOB)

    transport = httpx2.MockTransport(answer)
    patience = Patience(chance=lambda: 0.5)
    with Service("http://127.0.0.1:1", transport=transport, patience=patience, sleep=waited.append) as client:
        assert client.cancel("job_1").id == "job_1"
    assert (len(set(keys)), waited) == (1, [7.0, 1.0, 1.0])


def test_what_will_not_pass_is_not_sent_again():
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(409, json={"detail": "no"}, headers={"x-should-retry": "false"})

    with service(answer) as client, pytest.raises(Conflict):
        client.send(calls.promote("job_1.02-dpo", "starter"))
    assert asked == ["/v1/models/job_1.02-dpo/promote"]


async def test_a_coroutine_sends_the_same_and_follows_a_job_over_a_broken_stream(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOLON_API_KEY", "sk-solon-x")
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == "Bearer sk-solon-x"
        if not request.url.path.endswith("/stream"):
            return httpx2.Response(200, json=JOB | {"status": "running" if len(asked) < 2 else "succeeded"})
        asked.append(request.headers["Last-Event-ID"])
        text = event(1) if len(asked) == 1 else event(2) + "event: end\ndata: {}\n\n"
        return httpx2.Response(200, text=text, headers={"Content-Type": "text/event-stream"})

    async with AsyncService("http://127.0.0.1:1", transport=httpx2.MockTransport(answer)) as client:
        assert [each.id async for each in client.follow("job_1")] == [1, 2]
        assert (await client.wait("job_1")).status == JobStatus.SUCCEEDED
    assert asked[:2] == ["0", "1"]

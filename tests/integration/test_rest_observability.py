"""What an operator sees of a running service: ids, metrics, probes, traces; and that clients cannot take it all."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from api.app import create_app
from api.ending import Ending
from api.observation import Observation
from api.redaction import Secrets
from api.tracing import open_tracing
from api.traffic import Traffic
from solon.fakes import keyword_judge
from solon.service_settings import Limits
from solon.settings import Settings
from tests.integration.service import FakeModels, service
from tests.unit.api.http_server import serving

PAIR = {"prompt": "Hello?", "response_a": "good day to you", "response_b": "go away"}
EVENTS = b"text/event-stream; charset=utf-8"
BODY: dict[str, Any] = {"constitution": "civic", "judge": "starter-judge", "prompts": [PAIR]}


def fakes() -> FakeModels:
    return FakeModels(starter_judge=keyword_judge(["good"], ["away"]))


async def series(client: httpx2.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = (await client.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_request_has_an_id_that_comes_back_and_stands_in_problems(tmp_path: Path):
    async with service(tmp_path) as client:
        given = await client.get("/v1/jobs/none", headers={"X-Request-ID": "mine-7"})
        made = await client.get("/v1/models")
        odd = await client.get("/v1/jobs/none", headers={"X-Request-ID": "no id\x0b" * 3})
    assert given.headers["X-Request-ID"] == given.json()["request_id"] == "mine-7"
    assert re.fullmatch(r"req_\w{26}", made.headers["X-Request-ID"])
    assert odd.json()["request_id"] == odd.headers["X-Request-ID"] != "no id"


async def test_requests_are_counted_by_the_template_of_their_route(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        for path in ("/v1/jobs/one", "/v1/jobs/two", "/secret/one", "/secret/two"):
            await client.get(path)
        await client.post("/v1/preferences", json=BODY)
        found = await series(client)
    requests = {labels: count for (name, labels), count in found.items() if name == "solon_http_requests_total"}
    assert requests == {
        frozenset({("method", "GET"), ("route", "/v1/jobs/{job_id}"), ("status", "404")}): 2,
        frozenset({("method", "GET"), ("route", "unmatched"), ("status", "404")}): 2,
        frozenset({("method", "POST"), ("route", "/v1/preferences"), ("status", "200")}): 1,
    }


async def test_labels_jobs_and_memory_are_in_the_metrics(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        await client.post("/v1/preferences", json=BODY)
        found = await series(client)
    judge = ("judge", "keyword")
    pair = frozenset({("status", "ok"), ("constitution", "civic"), judge})
    assert found["solon_pairs_total", pair] == 1
    assert found["solon_judge_calls_total", frozenset({judge})] > 0
    assert found["solon_jobs", frozenset({("state", "queued")})] == 0
    assert found["solon_database_up", frozenset()] == 1
    assert found["process_resident_memory_bytes", frozenset()] > 1 << 20


async def test_ready_names_every_component_and_503_which_one_failed(tmp_path: Path):
    async with service(tmp_path) as client:
        ready = await client.get("/readyz")
        app: Any = client._transport.app  # type: ignore[attr-defined]
        app.state.services.readiness.draining = True
        ending = await client.get("/readyz")
        alive = await client.get("/livez")
    assert {"database", "jobs"} <= {each["name"] for each in ready.json()["components"]}
    assert (ready.status_code, ending.status_code, alive.status_code) == (200, 503, 200)
    assert ending.json()["detail"].startswith("server: ")
    assert "ask another one" in ending.json()["remedy"]
    assert ending.json()["components"][0] | {"name": "server", "status": "failed"} == ending.json()["components"][0]
    assert int(ending.headers["Retry-After"]) >= 1


@asynccontextmanager
async def collector() -> AsyncGenerator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A real OTLP/HTTP receiver on loopback."""
    got: list[ExportTraceServiceRequest] = []

    async def take(request: Request) -> Response:
        body = await request.body()
        plain = gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body
        got.append(ExportTraceServiceRequest.FromString(plain))
        return Response(media_type="application/x-protobuf")

    async with serving(Starlette(routes=[Route("/v1/traces", take, methods=["POST"])])) as url:
        yield url.removesuffix("/v1"), got


@asynccontextmanager
async def model_server() -> AsyncGenerator[tuple[str, list[dict[str, str]]]]:
    """A judge whose first token is A, and the headers that it was sent."""
    sent: list[dict[str, str]] = []

    async def chat(request: Request) -> JSONResponse:
        sent.append(dict(request.headers))
        top = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -2.5}]
        content = [{"token": "A", "logprob": -0.1, "top_logprobs": top}]
        choice = {"message": {"role": "assistant", "content": "A"}, "logprobs": {"content": content}}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
        return JSONResponse({"choices": [choice], "usage": usage})

    async with serving(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])) as url:
        yield url, sent


def spans(requests: Iterable[ExportTraceServiceRequest]) -> list[Any]:
    return [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


async def test_a_trace_goes_from_the_client_through_the_service_to_the_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    async with collector() as (url, exported), model_server() as (judge, sent):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=kanarie")
        settings = Settings.load(
            overrides=[
                f"database=sqlite:///{tmp_path / 'solon.db'}",
                f"artifacts={tmp_path}",
                f"models.far={{kind: judge, engine: vllm, endpoint: '{judge}'}}",
            ],
            environment={},
        )
        tracing = open_tracing(Secrets())
        assert tracing is not None
        app = create_app(settings, observation=Observation(settings.models, provider=tracing))
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            headers = {"traceparent": f"00-{trace}-{caller}-01", "X-Request-ID": "mine-7", "baggage": "who=kanarie"}
            refused = await client.post("/v1/preferences?kanarie=1", json=BODY)
            answer = await client.post("/v1/preferences", json=BODY | {"judge": "far"}, headers=headers)
            counted = await series(client)
        await asyncio.to_thread(tracing.shutdown)

    found = spans(exported)
    by_name = {span.name: span for span in found}
    request, labelling = by_name["POST /v1/preferences"], by_name["label"]
    chats = [span for span in found if span.name == "chat far"]
    assert (refused.status_code, answer.status_code) == (422, 200)
    assert {span.trace_id.hex() for span in (request, labelling, *chats)} == {trace}
    assert request.parent_span_id.hex() == caller
    assert labelling.parent_span_id == request.span_id
    assert {span.parent_span_id for span in chats} == {labelling.span_id}
    assert {each["traceparent"].split("-")[2] for each in sent} == {span.span_id.hex() for span in chats}
    assert {each["x-request-id"] for each in sent} == {"mine-7"}
    assert all("baggage" not in each for each in sent)
    assert "kanarie" not in str(exported)
    model = ("model", "far")
    assert counted["solon_model_requests_total", frozenset({model, ("outcome", "ok")})] == len(chats)
    assert counted["solon_model_tokens_total", frozenset({model, ("kind", "cached")})] == 4 * len(chats)


async def test_traces_are_off_unless_the_environment_asks_for_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert open_tracing(Secrets()) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_tracing(Secrets()) is None


def scope(path: str = "/v1/models") -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "state": {}}


async def through(traffic: Traffic, receive: Receive, path: str = "/v1/models") -> list[Message]:
    """The messages of the answer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await traffic(scope(path), receive, send)
    return sent


async def never() -> Message:
    await asyncio.sleep(60)
    raise AssertionError


async def reading(asked: Scope, receive: Receive, send: Send) -> None:
    """An app that reads the body, then answers."""
    await Request(asked, receive).body()
    await JSONResponse({})(asked, receive, send)


async def test_a_body_that_does_not_come_is_given_up():
    traffic = Traffic(reading, Observation(), Limits(client_timeout_s=0.05), Ending())

    answer = await asyncio.wait_for(through(traffic, never), 5)

    assert [each["status"] for each in answer if each["type"] == "http.response.start"] == [408]


async def test_no_more_requests_are_open_than_the_server_takes_and_probes_still_answer():
    entered, leave = 0, asyncio.Event()

    async def hold(asked: Scope, receive: Receive, send: Send) -> None:
        nonlocal entered
        entered += 1
        if asked["path"] != "/livez":
            await leave.wait()
        await JSONResponse({})(asked, receive, send)

    traffic = Traffic(hold, Observation(), Limits(requests_open=2), Ending())
    held = [asyncio.create_task(through(traffic, never)) for _ in range(2)]
    await asyncio.sleep(0)
    refused = [await through(traffic, never) for _ in range(50)]
    probe = await through(traffic, never, "/livez")
    leave.set()
    await asyncio.gather(*held)

    assert {answer[0]["status"] for answer in refused} == {503}
    assert (b"retry-after", b"1") in refused[0][0]["headers"]
    assert probe[0]["status"] == 200
    assert entered == 3


async def test_a_server_that_ends_cuts_streams_at_once_and_tells_others_after_the_grace_to_come_again():
    entered, cancelled, clean = asyncio.Semaphore(0), list[str](), asyncio.Event()
    sent: dict[str, list[Message]] = {"/slow": [], "/stream": []}

    async def hold(asked: Scope, receive: Receive, send: Send) -> None:
        if asked["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", EVENTS)]})
        entered.release()
        try:
            await never()
        finally:
            cancelled.append(asked["path"])
            await clean.wait()  # cleaning up is not cancelled, and nobody's answer waits for it
            await send({"type": "http.response.body", "body": b"late"})

    async def request(path: str) -> None:
        async def send(message: Message) -> None:
            sent[path].append(message)

        await traffic(scope(path) | {"headers": [(b"x-request-id", b"mine-7")]}, never, send)

    ending = Ending()
    traffic = Traffic(hold, Observation(), Limits(), ending)
    held = [asyncio.create_task(request(path)) for path in sent]
    for _ in held:
        await entered.acquire()
    await asyncio.wait_for(ending.after(0.05), 5)
    while len(cancelled) < 2:
        await asyncio.sleep(0)
    slow, stream = ([*sent[path]] for path in sent)
    clean.set()
    await asyncio.wait_for(asyncio.gather(*held), 5)

    assert cancelled == ["/stream", "/slow"]
    assert (slow[0]["status"], Headers(raw=slow[0]["headers"])["retry-after"]) == (503, "1")
    assert json.loads(slow[1]["body"])["request_id"] == "mine-7"
    assert (stream[0]["status"], stream[-1]) == (200, {"type": "http.response.body", "body": b""})
    assert sent == {"/slow": slow, "/stream": stream}


async def test_a_request_that_fails_is_answered_with_its_id():
    async def fail(asked: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asked = scope() | {"headers": [(b"x-request-id", b"mine-7")]}
    with pytest.raises(RuntimeError):
        await Traffic(fail, Observation(), Limits(), Ending())(asked, never, send)

    assert (sent[0]["status"], Headers(raw=sent[0]["headers"])["x-request-id"]) == (500, "mine-7")
    assert json.loads(sent[1]["body"])["request_id"] == "mine-7"


async def test_a_client_that_does_not_take_its_answer_is_let_go():
    async def answer(asked: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({})(asked, receive, send)

    async def stuck(message: Message) -> None:
        await asyncio.sleep(60)

    traffic = Traffic(answer, Observation(), Limits(client_timeout_s=0.05), Ending())

    await asyncio.wait_for(traffic(scope(), never, stuck), 5)


async def test_event_streams_are_bounded(tmp_path: Path):
    async with service(tmp_path, None, "limits.event_streams=0") as client:
        recipe = {"name": "r", "constitution": "civic", "judge": "starter-judge", "steps": [{"type": "label"}]}
        job = (await client.post("/v1/jobs", json={"recipe": recipe})).json()
        answer = await client.get(f"/v1/jobs/{job['id']}/events/stream")
        await client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")

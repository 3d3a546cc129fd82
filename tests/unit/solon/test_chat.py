"""The chat client against scripted HTTP answers and against a port where nobody listens."""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Self

import httpx2
import pytest

from solon.chat import OpenAIChat, PromptTooLong, RequestFailed, RequestTimedOut, RetryPolicy
from solon.errors import InvalidInput, ModelUnavailable, SolonError
from solon.records import Message
from solon.replies import retry_after_s

HELLO = [Message(role="system", content="Be brief."), Message(role="user", content="Hello?")]
QUICK = RetryPolicy(budget_s=0.3, first_wait_s=0.01, max_wait_s=0.02)
PATIENT = RetryPolicy(budget_s=60.0, first_wait_s=0.01, max_wait_s=0.02)
ENDPOINT = "http://judge.internal:8000/v1"


class Server:
    """Gives the scripted answers in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def body(self) -> dict[str, object]:
        return json.loads(self.requests[-1].content)


def answer(text: str = "Hi.", **choice: object) -> httpx2.Response:
    entry = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}
    return httpx2.Response(
        200, json={"choices": [entry], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}
    )


def failure(code: int, message: str = "no", **headers: str) -> httpx2.Response:
    return httpx2.Response(code, json={"error": {"message": message}}, headers=headers)


def chat(server: Server, **options: object) -> OpenAIChat:
    settings = {"retry": QUICK, "transport": httpx2.MockTransport(server)} | options
    return OpenAIChat("qwen-judge", ENDPOINT, "Qwen/Qwen3-32B", **settings)  # type: ignore[arg-type]


async def failing(server: Server, **options: object) -> SolonError:
    async with chat(server, **options) as model:
        with pytest.raises(SolonError) as caught:
            await model.complete(HELLO, max_tokens=5)
    return caught.value


async def test_a_reply_carries_text_finish_reason_and_token_counts():
    async with chat(Server(answer("Hi."))) as model:
        reply = await model.complete(HELLO, max_tokens=5)
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == ("Hi.", "stop")
    assert (reply.prompt_tokens, reply.completion_tokens) == (7, 2)


async def test_a_request_says_what_was_asked_and_nothing_that_was_not():
    server = Server(answer())
    async with chat(server, api_key="secret") as model:
        await model.complete(HELLO, max_tokens=5, n=2, temperature=0.7, top_p=0.9, seed=11, stop=["\n"])
        assert str(server.requests[0].url) == f"{ENDPOINT}/chat/completions"
        assert server.requests[0].headers["Authorization"] == "Bearer secret"
        assert server.body == {
            "model": "Qwen/Qwen3-32B",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
            "max_tokens": 5,
            "n": 2,
            "temperature": 0.7,
            "top_p": 0.9,
            "seed": 11,
            "stop": ["\n"],
        }
        await model.complete(HELLO, max_tokens=1, top_logprobs=20)
        assert "seed" not in server.body
        assert (server.body["logprobs"], server.body["top_logprobs"]) == (True, 20)


async def test_first_token_log_probabilities_come_from_the_first_position():
    positions = [
        {
            "token": "A",
            "logprob": -0.1,
            "top_logprobs": [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -3}],
        },
        {"token": ".", "logprob": -0.2, "top_logprobs": [{"token": ".", "logprob": -0.2}]},
    ]
    async with chat(Server(answer("A.", logprobs={"content": positions}))) as model:
        reply = await model.complete(HELLO, max_tokens=2, top_logprobs=2)
    assert [(entry.token, entry.logprob) for entry in reply.choices[0].first_token] == [("A", -0.1), ("B", -3.0)]


async def test_a_refusal_field_reads_as_a_content_filter():
    server = Server(answer(message={"role": "assistant", "content": None, "refusal": "I can't."}))
    async with chat(server) as model:
        assert (await model.complete(HELLO, max_tokens=1)).choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize("code", [408, 409, 429, 500, 502, 503, 504])
async def test_a_passing_failure_is_retried(code: int):
    server = Server(failure(code), httpx2.ConnectError("refused"), answer("Hi."))
    async with chat(server, retry=PATIENT) as model:
        assert (await model.complete(HELLO, max_tokens=5)).choices[0].text == "Hi."
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
async def test_the_callers_fault_is_not_retried(code: int):
    server = Server(failure(code))
    await failing(server)
    assert len(server.requests) == 1


async def test_retry_after_is_honoured():
    server = Server(failure(429, **{"Retry-After": "0.2"}), answer())
    started = time.monotonic()
    async with chat(server, retry=PATIENT) as model:
        await model.complete(HELLO, max_tokens=5)
    assert time.monotonic() - started >= 0.2


async def test_a_retry_after_beyond_the_budget_fails_at_once():
    server = Server(failure(503, **{"Retry-After": "3600"}))
    assert isinstance(await failing(server), ModelUnavailable)
    assert len(server.requests) == 1


def test_retry_after_reads_seconds_and_dates():
    now = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
    assert retry_after_s("7", now=now) == 7.0
    assert retry_after_s("Sat, 21 Nov 2026 12:00:30 GMT", now=now) == 30.0
    assert retry_after_s("Sat, 21 Nov 2026 11:00:00 GMT", now=now) == 0.0
    assert retry_after_s("soon", now=now) is None
    assert retry_after_s(None) is None


async def test_a_dead_endpoint_fails_within_its_budget_and_says_what_to_do():
    started = time.monotonic()
    async with OpenAIChat("qwen-judge", "http://127.0.0.1:9/v1", "m", retry=RetryPolicy(budget_s=0.5)) as model:
        with pytest.raises(ModelUnavailable) as caught:
            await model.complete(HELLO, max_tokens=1)
    assert time.monotonic() - started < 10
    assert "qwen-judge" in str(caught.value)
    assert "endpoint of models.qwen-judge" in caught.value.remedy
    assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize("code", [301, 307, 401, 403, 404])
async def test_a_server_that_refuses_every_request_ends_the_job(code: int):
    error = await failing(Server(failure(code, Location="http://elsewhere/")))
    assert isinstance(error, ModelUnavailable)
    assert "models.qwen-judge" in error.remedy


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        (
            failure(400, "This model's maximum context length is 1024 tokens. However, you requested 2000."),
            PromptTooLong,
        ),
        (
            failure(400, "The decoder prompt (length 1200) is longer than the maximum model length of 1024."),
            PromptTooLong,
        ),
        (failure(413, "too large"), PromptTooLong),
        (failure(400, "unknown field"), RequestFailed),
        (failure(500), RequestFailed),
        (failure(504), RequestTimedOut),
        (failure(503), ModelUnavailable),
        (failure(429), ModelUnavailable),
        (httpx2.ReadTimeout("slow"), RequestTimedOut),
        (httpx2.RemoteProtocolError("gone"), RequestFailed),
        (httpx2.Response(200, text="<html>"), RequestFailed),
        (httpx2.Response(200, json={"choices": []}), RequestFailed),
    ],
)
async def test_each_failure_has_its_kind(answered: httpx2.Response | Exception, kind: type[SolonError]):
    assert type(await failing(Server(answered))) is kind


async def test_messages_name_neither_endpoint_nor_key():
    error = await failing(Server(failure(400, f"bad key secret-key at {ENDPOINT}")), api_key="secret-key")
    assert "secret-key" not in str(error)
    assert "judge.internal" not in str(error)


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Listening() as server, local(server) as model:
        assert (await model.complete(HELLO, max_tokens=5)).choices[0].text == "Hi."


async def test_no_more_requests_are_in_flight_than_allowed():
    in_flight, most = 0, 0

    async def slow(request: httpx2.Request) -> httpx2.Response:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.01)
        in_flight -= 1
        return answer()

    model = OpenAIChat("m", ENDPOINT, "m", max_concurrency=3, transport=httpx2.MockTransport(slow))
    async with model:
        await asyncio.gather(*(model.complete(HELLO, max_tokens=1) for _ in range(20)))
    assert most == 3


def test_an_endpoint_that_is_no_url_is_named():
    with pytest.raises(InvalidInput) as caught:
        OpenAIChat("qwen-judge", "http://judge:eight/v1", "m")
    assert caught.value.field == "models.qwen-judge.endpoint"


async def test_connections_are_kept_and_no_more_are_opened_than_requests_in_flight():
    async with Listening() as server, local(server, max_concurrency=2) as model:
        for _ in range(3):
            await asyncio.gather(*(model.complete(HELLO, max_tokens=5) for _ in range(4)))
        assert server.connections <= 2


def local(server: "Listening", max_concurrency: int = 64) -> OpenAIChat:
    endpoint = f"http://127.0.0.1:{server.port}/v1"
    return OpenAIChat("local", endpoint, "m", max_concurrency=max_concurrency, retry=PATIENT)


class Listening:
    """A real socket that answers every request with one completion; `connections` counts those it accepted."""

    def __init__(self) -> None:
        self.connections = 0
        self._handlers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._handlers)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handlers.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        body = answer().content
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line]
            await reader.readexactly(lengths[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

"""Secrets planted everywhere, then a broad set of requests and jobs that succeed and fail: none comes out anywhere.

A canary is a secret that a person, an operator or another service gave. Where it was given is allowed to know it (the
prompt that was labelled stands in its stored preference, a new key in the one answer that tells it); log lines, events,
error answers, metrics, traces, the database and the files of jobs are not.
"""

import asyncio
import gzip
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.e2e.test_cli import ROOT, solon
from tests.unit.api.http_server import serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long]

JUDGE_KEY = "kanarie-judge-key-1f3a9c"
ENVIRONMENT = "kanarie-environment-c0ffee"
COLLECTOR = "kanarie-collector-5d41aa"
HEADER = "kanarie-header-9be2f0"
BODY = "kanarie-body-3c6ef3"
QUERY = "kanarie-query-d2a84b"
DATABASE = "kanarie-database-8f14e4"
GIVEN_BY_OPERATORS = (JUDGE_KEY, ENVIRONMENT, COLLECTOR, DATABASE)
GIVEN_BY_CLIENTS = (HEADER, BODY, QUERY)


@dataclass
class Outside:
    """A judge that tells in its errors what it was sent, and a collector of traces."""

    url: str
    judged: int = 0
    traces: list[bytes] = field(default_factory=list[bytes])


@asynccontextmanager
async def outside() -> AsyncGenerator[Outside]:
    """Both on one loopback port."""
    found = Outside("")

    async def chat(request: Request) -> Response:
        found.judged += 1
        asked = await request.json()
        if asked["model"] != "honest":
            told = {"url": str(request.url), **dict(request.headers), "said": asked["messages"]}
            status = {"refuses": 401, "rejects": 400, "garbles": 200}[asked["model"]]
            return JSONResponse({"error": {"message": json.dumps(told)}}, status)
        top = [{"token": word, "logprob": -1.0} for word in ("A", "B", "Yes", "No")]
        content = [{"token": "A", "logprob": -1.0, "top_logprobs": top}]
        return JSONResponse({"choices": [{"message": {"content": "A"}, "logprobs": {"content": content}}]})

    async def take(request: Request) -> Response:
        body = await request.body()
        plain = gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body
        found.traces.append(plain)
        return Response(media_type="application/x-protobuf")

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/traces", take, methods=["POST"]),
    ]
    async with serving(Starlette(routes=routes)) as url:
        found.url = url.removesuffix("/v1")
        yield found


@asynccontextmanager
async def service(folder: Path, outside: Outside) -> AsyncGenerator[str]:
    """The URL of a real `solon serve`; its log is `service.log` in the folder."""
    judges = {
        name: {
            "kind": "judge",
            "engine": "vllm",
            "endpoint": f"{outside.url}/v1",
            "model": name,
            "api_key_env": "JUDGE_KEY",
        }
        for name in ("honest", "refuses", "rejects", "garbles")
    }
    models = judges | {"writer": judges["refuses"] | {"kind": "policy"}}
    (folder / "solon.yaml").write_text(json.dumps({"models": models, "logs": {"level": "debug"}}))
    environment = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "JUDGE_KEY": JUDGE_KEY,
        "UNRELATED_PASSWORD": ENVIRONMENT,
        "OTEL_EXPORTER_OTLP_ENDPOINT": outside.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={COLLECTOR}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "0", "--json"]
    with (folder / "service.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        assert child.stdout is not None
        said = await child.stdout.readline()
        try:
            assert said, (folder / "service.log").read_text()
            yield json.loads(said)["url"]
        finally:
            if child.returncode is None:
                child.send_signal(signal.SIGTERM)
            await asyncio.wait_for(child.wait(), 30)


async def exercised(client: httpx2.AsyncClient) -> list[str]:
    """The texts of all answers that must hold no canary at all: errors, metrics, events, lists of jobs and models."""
    answers = [*await labelled(client), *await wrong(client), *await job(client)]
    answers.append(await client.get("/v1/models", headers={"Authorization": f"Bearer {HEADER}"}))
    answers += [await client.get(path) for path in ("/v1/jobs", "/v1/models", "/metrics", "/readyz")]
    return [f"{answer.request.method} {answer.status_code}: {answer.text}" for answer in answers]


async def labelled(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    """The error answers of judges that judge, refuse, reject and garble."""
    errors: list[httpx2.Response] = []
    for judge in ("honest", "refuses", "rejects", "garbles"):
        pair = {"prompt": f"Is {BODY} {judge}?", "completions": [f"{BODY} yes", f"{BODY} no"]}
        body = {"constitution": "civic", "judge": judge, "prompts": [pair]}
        answer = await client.post("/v1/preferences", json=body)
        if answer.status_code == 200:  # the labels of the texts hold the texts, and nothing else
            assert [secret for secret in (*GIVEN_BY_OPERATORS, HEADER, QUERY) if secret in answer.text] == []
        else:
            errors.append(answer)
    assert 0 < len(errors) < 4
    return errors


async def wrong(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    """The error answers of every route to wrong ids, queries and bodies."""
    answers: list[httpx2.Response] = []
    bodies: list[Any] = [{"prompts": BODY}, {BODY: BODY}, [BODY], {"constitution": BODY, "prompts": [{"prompt": BODY}]}]
    document = (await client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        if path.endswith("/stream") or path in ("/metrics", "/livez", "/readyz", "/health"):
            continue
        where = re.sub(r"\{\w+\}", QUERY, path)
        for method in methods:
            asked = {"after": QUERY} if method == "get" else None
            for body in bodies if method in ("post", "put", "patch") else [None]:
                answers.append(await client.request(method, where, json=body, params=asked))
            answers.append(await client.request(method, where, params={QUERY: QUERY}))
    return [answer for answer in answers if answer.status_code >= 400]


async def job(client: httpx2.AsyncClient) -> list[httpx2.Response]:
    """A job whose policy refuses it: the job, its events and their stream."""
    recipe = {"name": "r", "constitution": "civic", "policy": "writer", "judge": "refuses"}
    made = await client.post("/v1/jobs", json={"recipe": recipe | {"steps": [{"type": "label"}]}})
    assert made.status_code == 202, made.text
    where = f"/v1/jobs/{made.json()['id']}"
    found = await client.get(where)
    for _ in range(600):
        if found.json()["status"] not in ("queued", "running"):
            break
        await asyncio.sleep(0.1)
        found = await client.get(where)
    assert found.json()["status"] == "failed", found.text
    return [found, await client.get(f"{where}/events"), await client.get(f"{where}/events/stream")]


def holders(folder: Path, secrets: tuple[str, ...], *, but: tuple[str, ...] = ()) -> list[str]:
    """Files below the folder that hold one of the secrets, as it stands or JSON- or URL-escaped."""
    return [
        f"{path.relative_to(folder)}: {secret}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
        for secret in secrets
        if secret.encode() in path.read_bytes()
    ]


async def test_no_planted_secret_comes_out_anywhere(tmp_path: Path):
    headers = {"Authorization": f"Bearer {HEADER}", "Cookie": HEADER, "X-Api-Key": HEADER, "X-Request-ID": "mine-7"}
    async with AsyncExitStack() as stack:
        others = await stack.enter_async_context(outside())
        url = await stack.enter_async_context(service(tmp_path, others))
        client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=60))
        refused = await client.get("/v1/models", headers=headers)
        texts = await exercised(client)
        texts.append(refused.text)
        hook = await client.post("/v1/webhooks", json={"url": "https://93.184.216.34/hook"})
        assert hook.status_code == 201, hook.text
        hook_secret = hook.json()["secret"]
        texts += [(await client.get("/v1/webhooks")).text, (await client.get("/v1/changes")).text]
        key = await client.post("/v1/keys", json={"name": "ci", "scopes": ["read", "operator"]})
        assert key.status_code == 201, key.text
        made = key.json()["key"]
        with_key = {"Authorization": f"Bearer {made}"}
        for path in ("/v1/jobs/none", "/metrics", "/v1/models"):
            texts.append((await client.get(path, headers=with_key)).text)
    log = (tmp_path / "service.log").read_text()

    assert others.judged > 50
    assert "mine-7" in log
    leaks = [text[:300] for text in texts for secret in (*GIVEN_BY_OPERATORS, *GIVEN_BY_CLIENTS) if secret in text]
    assert leaks == []
    assert [text[:300] for text in texts if hook_secret in text or made in text] == []
    assert hook_secret not in log
    assert holders(tmp_path, (hook_secret,)) == []
    assert [secret for secret in (*GIVEN_BY_OPERATORS, *GIVEN_BY_CLIENTS, made) if secret in log] == []
    assert others.traces
    sent = b"".join(others.traces)
    assert [secret for secret in (*GIVEN_BY_OPERATORS, HEADER, BODY, made) if secret.encode() in sent] == []
    assert holders(tmp_path, (JUDGE_KEY, ENVIRONMENT, COLLECTOR, HEADER, QUERY, made)) == []


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["config", "show"], ["database", "show"]])
def test_the_password_of_a_database_that_does_not_answer_is_not_told(tmp_path: Path, command: list[str]):
    url = f"postgresql+psycopg://solon:{DATABASE}@127.0.0.1:9/solon"

    ended = solon("--set", f"database={url}", *command, folder=tmp_path)

    assert DATABASE not in ended.stdout + ended.stderr
    assert holders(tmp_path, (DATABASE,)) == []


def test_credentials_in_an_endpoint_are_refused_and_not_repeated(tmp_path: Path):
    model = f"{{kind: judge, engine: vllm, endpoint: 'http://u:{DATABASE}@h/v1'}}"

    ended = solon("--set", f"models.far={model}", "model", "ls", folder=tmp_path)

    assert ended.returncode == 2
    assert "api_key_env" in ended.stderr
    assert DATABASE not in ended.stdout + ended.stderr

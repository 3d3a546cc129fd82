"""Readiness: what is looked at, how often, how long, and what is said of it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.engines import Engines
from api.readiness import Component, Readiness, Unready, judges_answer
from solon.service_settings import Probes
from solon.settings import JudgeOptions, ModelEntry, Settings
from tests.unit.api.http_server import serving

PROBES = Probes(timeout_s=0.5, kept_s=60)


async def test_each_thing_is_asked_once_however_many_look():
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)

    readiness = Readiness({"thing": ask}, PROBES)
    await asyncio.gather(*(readiness.look() for _ in range(20)))

    assert asked == 1


async def test_an_answer_is_asked_for_again_when_it_is_old():
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1

    readiness = Readiness({"thing": ask}, Probes(kept_s=0))
    await readiness.look()
    await readiness.look()

    assert asked == 2


async def test_what_hangs_is_failed_in_time_and_the_others_are_told():
    async def hang() -> None:
        await asyncio.sleep(60)

    async def fail() -> None:
        raise Unready("is broken", "mend it")

    async def fine() -> None: ...

    found = await Readiness({"slow": hang, "bad": fail, "good": fine}, Probes(timeout_s=0.05)).look()

    assert [(each.name, each.status) for each in found] == [("slow", "failed"), ("bad", "failed"), ("good", "ok")]
    assert (found[1].detail, found[1].remedy) == ("is broken", "mend it")


async def test_a_server_that_is_ending_is_not_ready():
    readiness = Readiness({}, PROBES)
    readiness.draining = True

    (server,) = await readiness.look()

    assert (server.name, server.status) == ("server", "failed")


@asynccontextmanager
async def judge_server(honours: bool) -> AsyncGenerator[str]:
    """A model server that writes one of the given words, or, like vLLM with an old field name, what it likes."""

    async def chat(request: Request) -> JSONResponse:
        body = await request.json()
        word = body["structured_outputs"]["choice"][1] if honours else "Hello"
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": word}}]})

    async with serving(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])) as url:
        yield url


async def looked_at(**models: ModelEntry) -> dict[str, Component]:
    settings = Settings(models=models, probes=PROBES)
    async with Engines(settings) as engines:
        found = await Readiness(judges_answer(settings, engines), PROBES).look()
    return {each.name: each for each in found}


@pytest.mark.parametrize(("honours", "status"), [(True, "ok"), (False, "failed")])
async def test_a_judge_is_ready_only_where_constraints_bind(honours: bool, status: str):
    async with judge_server(honours) as url:
        found = await looked_at(far=ModelEntry(kind="judge", engine="vllm", endpoint=url))

    assert found["judge far"].status == status
    assert honours or "`structured_outputs`" in found["judge far"].detail


async def test_a_json_judge_of_others_is_asked_under_a_schema_and_other_methods_plainly():
    async def chat(request: Request) -> JSONResponse:
        body = await request.json()
        text = '{"word": "B"}' if "response_format" in body else "Hello"
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": text}}]})

    async with serving(Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])) as url:
        found = await looked_at(
            json=ModelEntry(kind="judge", engine="openai", endpoint=url, judge=JudgeOptions(method="json")),
            plain=ModelEntry(kind="judge", engine="openai", endpoint=url),
        )

    assert {name: each.status for name, each in found.items()} == {"judge json": "ok", "judge plain": "ok"}


async def test_a_judge_that_is_not_there_is_named_with_what_to_do_and_without_its_address():
    far = ModelEntry(kind="judge", engine="vllm", endpoint="http://127.0.0.1:9/v1")

    found = (await looked_at(far=far))["judge far"]

    assert found.status == "failed"
    assert "models.far" in found.remedy
    assert "127.0.0.1" not in found.detail + found.remedy


async def test_policies_and_juries_are_not_probed_and_a_local_judge_is_idle_until_it_is_asked():
    found = await looked_at(
        writer=ModelEntry(kind="policy", path="builtin:starter"),
        jury=ModelEntry(kind="judge", engine="jury", members={"own": 1.0}),
        own=ModelEntry(kind="judge", path="builtin:starter-judge"),
    )

    assert {name: each.status for name, each in found.items()} == {"judge own": "idle"}

"""`api.calls` has a function for every request whose answer is JSON, and the service answers what they are read as."""

import inspect
import re
from pathlib import Path

import httpx2
import pytest

from api import access_calls, calls
from api.app import create_app
from api.async_client import AsyncService
from solon.errors import NotFound
from tests.integration.examples import CONSTITUTION, ROW, models
from tests.integration.service import settings_in
from tests.integration.test_openapi import document

NOT_JSON = {
    "GET /livez",
    "GET /readyz",
    "GET /health",
    "GET /metrics",
    "GET /v1/datasets/{}/card",
    "GET /v1/datasets/{}/export",
    "GET /v1/files/{}/content",
    "GET /v1/jobs/{}/events/stream",
}
"""Probes, and what is read in another way: by `Service.export`, `Service.stream`, or any HTTP client."""
OPENAI = {"GET /v1/fine_tuning/jobs", "GET /v1/fine_tuning/jobs/{}"}
"""For the clients of OpenAI."""


def test_every_request_has_a_function(tmp_path: Path):
    wanted = {
        re.sub(r"\{\w+\}", "{}", f"{method.upper()} {path}")
        for path, methods in document(tmp_path)["paths"].items()
        for method in methods
    }
    texts = [
        each.__doc__ or ""
        for module in (calls, access_calls)
        for _, each in inspect.getmembers(module, inspect.isfunction)
    ]
    found = {re.sub(r"\{\w+\}", "{}", each) for text in texts for each in re.findall(r"[A-Z]+ /v1[\w/{}]*", text)}
    assert found == wanted - NOT_JSON - OPENAI


async def test_what_the_functions_ask_is_answered(tmp_path: Path):
    kind = {"constitution": "civic", "judge": "starter-judge"}
    app = create_app(settings_in(tmp_path, "egress.allow_private=true"), models=models())
    transport = httpx2.ASGITransport(app=app)
    async with app.router.lifespan_context(app), AsyncService("http://127.0.0.1", transport=transport) as client:
        file = await client.send(calls.upload("rows.jsonl", b'{"prompt": "Hello?"}\n', "prompts"))
        assert (await client.send(calls.file(file.id))).rows == 1
        assert [each.id async for each in client.each(calls.files(purpose="prompts"))] == [file.id]
        job = await client.send(calls.batch(prompts=[ROW], **kind))
        assert (await client.send(calls.events(job.id))).has_more is False
        assert (await client.send(calls.rewards([ROW], constitution="civic"))).data[0].id == "prompt-0"
        pairs = (await client.send(calls.label([ROW], **kind))).data
        again = await client.send(calls.reweight([pairs[0].model_dump(mode="json")], constitution="civic"))
        assert len(again.data) == 1
        assert (await client.send(calls.delete_file(file.id))).deleted

        draft = await client.send(calls.save_draft("kindness", "first", CONSTITUTION, author="Ada"))
        patched = await client.send(calls.patch_draft("kindness", "first", {"title": "Kinder"}, draft.etag))
        assert "Kinder" in (await client.send(calls.draft("kindness", "first"))).text
        assert (await client.send(calls.validate_draft("kindness", "first"))).valid
        made = await client.send(calls.publish_draft("kindness", "first", patched.etag, message="First"))
        assert (await client.send(calls.constitution("kindness"))).version == made.version == "1.0.0"
        assert (await client.send(calls.move_label("kindness", "production", "1.0.0"))).version == "1.0.0"
        assert len((await client.send(calls.history("kindness"))).data) >= 3
        second = await client.send(calls.save_draft("kindness", "second", CONSTITUTION))
        assert await client.send(calls.delete_draft("kindness", "second", second.etag)) is None
        assert (await client.send(calls.drafts("kindness"))).data == []

        webhook = await client.send(access_calls.create_webhook("https://10.9.8.7/solon"))
        assert (await client.send(access_calls.try_webhook(webhook.id))).webhook == webhook.id
        assert (await client.send(access_calls.change_webhook(webhook.id, enabled=False))).id == webhook.id
        assert len((await client.send(access_calls.deliveries(webhook.id))).data) == 1
        assert await client.send(access_calls.delete_webhook(webhook.id)) is None

        assert (await client.send(access_calls.create_project("kitchen"))).id == "kitchen"
        await client.send(access_calls.set_quota("kitchen", {"requests_per_minute": 60}))
        assert (await client.send(access_calls.project_usage("kitchen"))).limits["requests_per_minute"].limit == 60
        assert (await client.send(access_calls.usage())).project == "default"
        assert (await client.send(access_calls.changes())).data
        key = await client.send(access_calls.create_key("Ada's", ["read"]))
        assert key.key.startswith("sk-solon-")


async def test_an_id_is_not_another_path(tmp_path: Path):
    app = create_app(settings_in(tmp_path), models=models())
    transport = httpx2.ASGITransport(app=app)
    async with app.router.lifespan_context(app), AsyncService("http://127.0.0.1", transport=transport) as client:
        for name in ("a?limit=1", "a%2F..%2F..%2Fmodels", "a#b", "é"):
            with pytest.raises(NotFound):
                await client.send(calls.job(name))

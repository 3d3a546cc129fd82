"""Idempotency-Key over ASGI: a request sent twice is answered once."""

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from api.store.answers import Answer, AnswerStore
from api.store.preference_tables import AnswerRow
from solon.errors import StillRunning
from solon.fakes import keyword_judge
from tests.integration.service import FakeModels, service

BODY: dict[str, Any] = {
    "constitution": "civic",
    "judge": "starter-judge",
    "prompts": [{"prompt": "Hello?", "response_a": "good day", "response_b": "go away"}],
}
KEY = {"Idempotency-Key": "one"}


async def test_the_same_key_and_body_get_the_stored_answer_and_no_second_judgement(tmp_path: Path):
    judge = keyword_judge(["good"], ["away"])
    async with service(tmp_path, FakeModels(starter_judge=judge), "", "cache=off") as client:
        first = await client.post("/v1/preferences", json=BODY, headers=KEY)
        calls = judge.calls
        second = await client.post("/v1/preferences", json=BODY, headers=KEY)
        other = await client.post("/v1/preferences", json=BODY | {"seed": 5}, headers=KEY)
        elsewhere = await client.post("/v1/preferences/reweight", json=BODY, headers=KEY)
    assert (first.status_code, second.content, judge.calls) == (200, first.content, calls)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert [answer.status_code for answer in (other, elsewhere)] == [422, 422]
    assert other.json()["field"] == "Idempotency-Key"


async def test_while_the_first_is_at_work_the_second_is_409_and_may_come_again(tmp_path: Path):
    judge = keyword_judge(["good"], ["away"], latency_s=0.3)
    async with service(tmp_path, FakeModels(starter_judge=judge)) as client:
        first = asyncio.create_task(client.post("/v1/preferences", json=BODY, headers=KEY))
        await asyncio.sleep(0.15)
        early = await client.post("/v1/preferences", json=BODY, headers=KEY)
        done = await first
        late = await client.post("/v1/preferences", json=BODY, headers=KEY)
    assert (early.status_code, early.headers["Retry-After"]) == (409, "1")
    assert (done.status_code, late.status_code, late.content) == (200, 200, done.content)


async def test_a_request_that_failed_leaves_its_key_free(tmp_path: Path):
    async with service(tmp_path, FakeModels()) as client:
        wrong = await client.post("/v1/preferences", json=BODY, headers=KEY)
        assert wrong.status_code == 404
        assert (await client.post("/v1/preferences", json=BODY | {"n": "x"}, headers=KEY)).status_code == 422
        long = await client.post("/v1/preferences", json=BODY, headers={"Idempotency-Key": "k" * 256})
        assert (long.status_code, long.json()["field"].title()) == (422, "Idempotency-Key")


def test_an_answer_whose_maker_died_may_be_made_again(tmp_path: Path):
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    AnswerRow.metadata.create_all(engine)
    store = AnswerStore(engine)
    assert store.claim("p", "k", "h") is None
    try:
        store.claim("p", "k", "h")
    except StillRunning:
        pass
    else:
        raise AssertionError("claimed twice")
    store._set("p", "k", claimed_until=0.0)
    assert store.claim("p", "k", "h") is None
    store.keep("p", "k", Answer(201, {"etag": '"x"'}, b"{}"))
    assert store.claim("p", "k", "h") == Answer(201, {"etag": '"x"'}, b"{}")
    assert store.claim("q", "k", "other") is None

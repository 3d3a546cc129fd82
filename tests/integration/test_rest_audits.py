"""POST and GET /v1/audits over ASGI, with scripted judges."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from solon.errors import ModelUnavailable
from solon.fakes import ScriptedChat, failing_judge, keyword_judge
from solon.records import Message
from solon.scoring import ScoreReply
from tests.integration.service import FakeModels, service

ROWS = [
    {
        "prompt": f"Question {i}?",
        "response_a": f"good {i}",
        "response_b": f"bad {i} <script>alert(1)</script>",
        "votes": ["a", "a", "tie"],
        "models": ["good-model", None],
    }
    for i in range(6)
]
BODY: dict[str, Any] = {"judge": "starter-judge", "constitution": "civic", "attacks": False, "prompts": ROWS}


def judge() -> ScriptedChat:
    return keyword_judge(["good"], ["bad"])


async def finished(client: httpx2.AsyncClient, audit_id: str) -> dict[str, Any]:
    for _ in range(2000):
        audit = (await client.get(f"/v1/audits/{audit_id}")).json()
        if audit["status"] != "running":
            return audit
        await asyncio.sleep(0.05)
    raise AssertionError("the audit does not end")


async def test_an_audit_runs_in_the_background_and_its_report_is_kept(tmp_path: Path):
    async with service(tmp_path, FakeModels(starter_judge=judge())) as client:
        answer = await client.post("/v1/audits", json=BODY)
        begun = answer.json()
        assert (answer.status_code, begun["object"], begun["status"]) == (202, "audit", "running")
        assert begun["request"]["rows"] == {"rows": 6}
        audit = await finished(client, begun["id"])
        page = await client.get(f"/v1/audits/{begun['id']}", headers={"Accept": "text/html"})
        listed = (await client.get("/v1/audits")).json()
    assert audit["status"] == "succeeded"
    agreement = audit["report"]["audits"]["rows"]["overall"]["agreement"]
    assert (agreement["n"], agreement["forced"]["value"]) == (6, 1.0)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert [(each["id"], each["report"]) for each in listed["data"]] == [(begun["id"], None)]


async def test_a_reward_model_is_audited_as_one(tmp_path: Path):
    class Rewarder(ScriptedChat):
        async def score(self, messages: Sequence[Message]) -> ScoreReply:
            return ScoreReply(float("good" in messages[-1].content), 7)

    override = "models.rm={kind: reward, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}"
    async with service(tmp_path, FakeModels(rm=Rewarder("rm", judge().script)), override) as client:
        begun = await client.post("/v1/audits", json=BODY | {"judge": "rm", "kind": "reward"})
        refused = await client.post("/v1/audits", json=BODY | {"kind": "reward"})
        audit = await finished(client, begun.json()["id"])
    assert (audit["status"], audit["report"]["kind"]) == ("succeeded", "reward")
    assert audit["report"]["audits"]["rows"]["overall"]["agreement"]["forced"]["value"] == 1.0
    assert refused.status_code == 422
    assert "registered as no reward model" in refused.text


async def test_without_rows_the_constitutions_cases_are_audited(tmp_path: Path):
    async with service(tmp_path, FakeModels(starter_judge=judge())) as client:
        begun = (await client.post("/v1/audits", json=BODY | {"prompts": []})).json()
        audit = await finished(client, begun["id"])
    assert list(audit["report"]["audits"]) == ["cases"]


async def test_a_dead_judge_is_a_failed_audit_that_says_so(tmp_path: Path):
    dead = failing_judge(judge(), lambda call: ModelUnavailable("gone", remedy="start it"))
    async with service(tmp_path, FakeModels(starter_judge=dead)) as client:
        begun = (await client.post("/v1/audits", json=BODY)).json()
        audit = await finished(client, begun["id"])
    assert (audit["status"], audit["report"]) == ("failed", None)
    assert audit["error"] == {"message": "gone", "remedy": "start it", "field": None}


async def test_the_same_key_gives_the_same_audit_and_another_body_is_refused(tmp_path: Path):
    headers = {"Idempotency-Key": "once"}
    async with service(tmp_path, FakeModels(starter_judge=judge())) as client:
        one = (await client.post("/v1/audits", json=BODY, headers=headers)).json()
        await finished(client, one["id"])
        two = (await client.post("/v1/audits", json=BODY, headers=headers)).json()
        other = await client.post("/v1/audits", json=BODY | {"seed": 1}, headers=headers)
    assert one["id"] == two["id"]
    assert other.status_code == 422


async def test_one_audit_too_many_is_429_and_one_left_running_is_failed_by_the_next_server(tmp_path: Path):
    slow = ScriptedChat("slow", judge().script, latency_s=60)
    models = FakeModels(starter_judge=slow)
    async with service(tmp_path, models, "", "limits.audits_running=1") as client:
        begun = (await client.post("/v1/audits", json=BODY)).json()
        assert (await client.post("/v1/audits", json=BODY)).status_code == 429
    async with service(tmp_path, models) as client:
        audit = (await client.get(f"/v1/audits/{begun['id']}")).json()
    assert (audit["status"], audit["error"]["remedy"]) == ("failed", "ask for it again")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"judge": "nobody"}, 404),
        ({"judge": "starter"}, 422),
        ({"second_judge": "nobody"}, 404),
        ({"constitution": "nothing"}, 404),
        ({"kind": "reward"}, 422),
        ({"prompts": [{"prompt": "Hi", "completions": ["one"]}]}, 422),
        ({"prompts": [ROWS[0] | {"scope": "nowhere"}]}, 422),
        ({"prompts": [ROWS[0] | {"models": ["one"]}]}, 422),
        ({"unknown": 1}, 422),
    ],
)
async def test_what_cannot_be_audited_is_refused(tmp_path: Path, changes: dict[str, Any], status: int):
    async with service(tmp_path, FakeModels(starter_judge=judge())) as client:
        answer = await client.post("/v1/audits", json=BODY | changes)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_audit_is_404(tmp_path: Path):
    async with service(tmp_path) as client:
        assert (await client.get("/v1/audits/aud_nothing")).status_code == 404

"""POST /v1/critiques over ASGI."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from solon.chat import ChatReply
from solon.fakes import Call, ScriptedChat, keyword_judge, text_reply
from tests.integration.service import FakeModels, service

BODY: dict[str, Any] = {
    "constitution": "civic",
    "policy": "starter",
    "judge": "starter-judge",
    "rounds": 2,
    "prompts": [{"prompt": "Hello?", "completions": ["go away"]}],
}


def fakes() -> FakeModels:
    def script(call: Call) -> ChatReply:
        return text_reply("It is rude." if "critique only" in call.text else "good day to you")

    return FakeModels(starter=ScriptedChat("starter", script), starter_judge=keyword_judge(["good"], ["away"]))


async def ask(client: httpx2.AsyncClient, **changes: Any) -> httpx2.Response:
    return await client.post("/v1/critiques", json=BODY | changes)


async def test_a_completion_is_critiqued_revised_and_the_revision_verified(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        answer = await ask(client)
    body = answer.json()
    assert (answer.status_code, body["object"]) == (200, "list")
    (chain,) = body["data"]
    assert chain["id"].startswith("crit_")
    assert [revision["rejected"] for revision in chain["revisions"]] == [None, "unchanged_revision"]
    assert chain["revisions"][0]["critique"] == "It is rude."
    assert (body["comparisons"][0]["chosen"], body["comparisons"][0]["b"]["text"]) == ("b", "good day to you")
    assert body["rates"]["win_rate"]["value"] == 1.0


async def test_without_a_judge_nothing_is_compared(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        body = (await ask(client, judge=None)).json()
    assert body["comparisons"] == []
    assert body["rates"]["win_rate"] is None


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"policy": None}, 422, "policy"),
        ({"critic": "secret"}, 404, None),
        ({"judge": "starter"}, 422, None),
        ({"rounds": 0}, 422, "rounds"),
        ({"principles": "secret"}, 422, "principles"),
        ({"prompts": [{"prompt": "secret", "scope": "secret"}]}, 422, "prompts.0.scope"),
        ({"constitution": "secret"}, 404, None),
        ({"policy": None, "critic": "starter", "prompts": [{"prompt": "secret"}]}, 422, "prompts.0"),
    ],
)
async def test_wrong_requests_are_problems_that_never_repeat_the_input(
    tmp_path: Path, changes: dict[str, Any], status: int, field: str | None
):
    async with service(tmp_path, fakes()) as client:
        answer = await ask(client, **changes)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status_code == status
    assert field is None or answer.json()["field"] == field
    assert "secret" not in answer.text

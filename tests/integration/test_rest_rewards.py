"""POST /v1/rewards over ASGI."""

from pathlib import Path
from typing import Any

from solon.fakes import keyword_judge
from tests.integration.service import FakeModels, service

STORY = "Once there was a kind fox. It shared its food with a small bird. They were good friends and happy."


async def post(folder: Path, **changes: Any) -> Any:
    body: dict[str, Any] = {
        "constitution": "stories",
        "prompts": [{"prompt": "A story?", "completions": [STORY, "No"]}],
    }
    async with service(folder, FakeModels(starter_judge=keyword_judge(["kind"]))) as client:
        return await client.post("/v1/rewards", json=body | changes)


async def test_rules_score_completions_without_a_judge(tmp_path: Path):
    answer = await post(tmp_path)
    (found,) = answer.json()["data"]
    assert (answer.status_code, answer.json()["object"]) == (200, "list")
    assert found["best"] == 0
    assert found["scores"][0]["reward"] > found["scores"][1]["reward"]
    assert set(found["scores"][0]) >= {"reward", "fired", "propositions", "class", "p_class", "p_rule"}


async def test_mistakes_name_the_place_and_do_not_repeat_the_request(tmp_path: Path):
    scope = await post(tmp_path, prompts=[{"prompt": "Hi", "completions": ["a"], "scope": "zzz-secret"}])
    unknown = await post(tmp_path, prompts=[{"prompt": "Hi", "completions": ["a"], "zzz": 1}])
    empty = await post(tmp_path, prompts=[{"prompt": "Hi"}])
    assert (scope.status_code, scope.json()["field"]) == (422, "prompts.0.scope")
    assert (unknown.status_code, empty.status_code) == (422, 422)
    assert "zzz-secret" not in scope.text

"""The rest of the REST slice over ASGI: preferences, models, health, problems."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from solon.chat import RequestTimedOut
from solon.errors import ModelUnavailable
from solon.fakes import echo_policy, failing_judge, keyword_judge
from tests.integration.service import FakeModels, service

PAIR = {"prompt": "Hello?", "response_a": "good day to you", "response_b": "go away"}


def fakes() -> FakeModels:
    return FakeModels(starter=echo_policy(), starter_judge=keyword_judge(["good"], ["away"]))


async def ask(client: httpx2.AsyncClient, **changes: Any) -> httpx2.Response:
    body: dict[str, Any] = {"constitution": "civic", "judge": "starter-judge", "prompts": [PAIR]}
    return await client.post("/v1/preferences", json=body | changes)


async def test_a_pair_is_labelled_now(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        answer = await ask(client)
    body = answer.json()
    assert (answer.status_code, body["object"], body["has_more"]) == (200, "list", False)
    (pair,) = body["data"]
    assert (pair["object"], pair["status"]) == ("preference", "ok")
    assert pair[pair["chosen"]]["text"] == "good day to you"
    assert pair["p_chosen"] > 0.9
    assert pair["provenance"]["constitution"] == "civic"
    assert body["counts"] == {"ok": 1}
    assert body["first_id"] == body["last_id"] == pair["id"]


async def test_the_policy_writes_completions_where_there_are_none(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        answer = await ask(client, policy="starter", n=3, prompts=[{"prompt": "Tell me."}])
    items = answer.json()["data"]
    assert answer.status_code == 200
    assert all(item["object"] in ("preference", "discard") for item in items)
    assert [item["a"]["model"] for item in items if item["object"] == "preference"] == ["echo"]


async def test_a_judge_failure_is_a_status_and_not_an_error(tmp_path: Path):
    judge = failing_judge(keyword_judge(["good"]), lambda call: RequestTimedOut("no answer"))
    async with service(tmp_path, FakeModels(starter_judge=judge)) as client:
        answer = await ask(client)
    assert (answer.status_code, answer.json()["data"][0]["status"]) == (200, "timeout")


async def test_a_dead_judge_is_503(tmp_path: Path):
    judge = failing_judge(keyword_judge(["good"]), lambda call: ModelUnavailable("gone", remedy="start it"))
    async with service(tmp_path, FakeModels(starter_judge=judge)) as client:
        answer = await ask(client)
    assert (answer.status_code, answer.json()["remedy"]) == (503, "start it")


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"constitution": "secret"}, 404, None),
        ({"constitution": "/etc/secret.yaml"}, 404, None),
        ({"judge": "secret"}, 404, None),
        ({"judge": None}, 422, "judge"),
        ({"judge": "starter"}, 422, None),
        ({"policy": "starter-judge"}, 422, None),
        ({"n": "secret"}, 422, "n"),
        ({"prompts": []}, 422, "prompts"),
        ({"prompts": [PAIR | {"secret": 1}]}, 422, "prompts.0"),
        ({"prompts": [{"completions": ["secret"]}]}, 422, "prompts.0"),
        ({"prompts": [PAIR | {"scope": "secret"}]}, 422, None),
        ({"prompts": [PAIR] * 3}, 422, "prompts"),
        ({"prompts": [{"prompt": "secret"}]}, 422, None),
        ({"secret": True}, 422, None),
    ],
)
async def test_wrong_requests_are_problems_that_never_repeat_the_input(
    tmp_path: Path, changes: dict[str, Any], status: int, field: str | None
):
    async with service(tmp_path, fakes(), "", "limits.prompts_per_request=2") as client:
        answer = await ask(client, **changes)
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (status, status)
    assert {"type", "title", "detail"} <= problem.keys()
    assert field is None or problem["field"] == field
    assert "secret" not in answer.text


async def test_a_body_that_is_no_json_is_a_problem(tmp_path: Path):
    async with service(tmp_path) as client:
        wrong = await client.post("/v1/preferences", content=b"{secret", headers={"Content-Type": "application/json"})
        form = await client.post("/v1/preferences", content=b"{}", headers={"Content-Type": "text/plain"})
        huge = await client.post(
            "/v1/preferences", content=b" " * 5_000_000, headers={"Content-Type": "application/json"}
        )
    assert [answer.status_code for answer in (wrong, form, huge)] == [422, 415, 413]
    assert {answer.headers["Content-Type"] for answer in (wrong, form, huge)} == {"application/problem+json"}
    assert "secret" not in wrong.text


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b" " * 5_000_000, "application/json", 413, ["4 MiB", "/v1/files"]),
        (b"{}", "text/plain", 415, ["Content-Type", "application/json"]),
        (b"{}", None, 415, ["Content-Type", "application/json"]),
        (b'{"n": "\xff"}', "application/json", 400, ["UTF-8"]),
        (b"[" * 100_000, "application/json", 400, ["nested too deeply"]),
        (b'{"n": ' + b"9" * 5000 + b"}", "application/json", 400, ["too many digits"]),
    ],
)
async def test_a_body_that_is_not_taken_is_answered_with_what_is_wrong_and_what_to_do(
    tmp_path: Path, content: bytes, kind: str | None, status: int, said: list[str]
):
    async with service(tmp_path) as client:
        answer = await client.post("/v1/preferences", content=content, headers={"Content-Type": kind} if kind else {})
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert answer.json()["remedy"]
    assert [word for word in said if word not in answer.text] == []


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
async def test_numbers_that_json_cannot_hold_are_refused_in_metadata(tmp_path: Path, number: str):
    prompt = f'{{"prompt": "Hello?", "completions": ["a", "b"], "metadata": {{"deep": [{{"er": {number}}}]}}}}'
    body = f'{{"constitution": "civic", "judge": "starter-judge", "prompts": [{prompt}]}}'
    async with service(tmp_path, fakes()) as client:
        answer = await client.post("/v1/preferences", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["field"].startswith("prompts.0")
    assert "metadata" in answer.json()["field"]


async def test_more_requests_than_the_server_takes_are_answered_429(tmp_path: Path):
    models = FakeModels(starter_judge=keyword_judge(["good"], latency_s=0.2))
    async with service(tmp_path, models, "", "limits.requests_in_flight=1") as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(3)))
        later = await ask(client)
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status_code == 429)
    assert later.status_code == 200


async def test_models_are_listed_without_their_places(tmp_path: Path):
    override = "models.far={kind: judge, engine: openai, endpoint: 'http://secret:1/v1', api_key_env: SECRET}"
    async with service(tmp_path, None, "", override) as client:
        answer = await client.get("/v1/models")
    assert [model["id"] for model in answer.json()["data"]] == [
        "far",
        "starter",
        "starter-critic",
        "starter-judge",
        "starter-marker",
    ]
    assert "secret" not in answer.text.lower()


async def test_health(tmp_path: Path):
    async with service(tmp_path) as client:
        assert [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/health")] == [200] * 3


async def test_other_hosts_and_unknown_paths_are_refused(tmp_path: Path):
    async with service(tmp_path) as client:
        foreign = await client.get("/v1/models", headers={"Host": "evil.example"})
        unknown = await client.get("/v1/secret")
        method = await client.delete("/v1/models")
        put = await client.put("/v1/preferences")
    assert foreign.json()["remedy"] == "an operator adds it to `hosts` of the settings"
    assert put.headers["Allow"] == "GET, POST"
    assert "GET, POST" in put.json()["remedy"]
    assert [foreign.status_code, unknown.status_code, method.status_code] == [400, 404, 405]
    assert {answer.headers["Content-Type"] for answer in (foreign, unknown, method)} == {"application/problem+json"}
    assert "secret" not in unknown.text


async def test_the_votes_of_an_answer_can_be_weighed_otherwise_without_a_judge(tmp_path: Path):
    models = fakes()
    async with service(tmp_path, models) as client:
        (pair,) = (await ask(client)).json()["data"]
        body = {"constitution": "civic", "weights": {"concise": 3, "tag:tone": 0}, "pairs": [pair]}
        models.models.clear()
        answer = await client.post("/v1/preferences/reweight", json=body)
    (found,) = answer.json()["data"]
    assert (answer.status_code, answer.json()["counts"]) == (200, {"ok": 1})
    assert found["provenance"]["weights"] == {"concise": 3, "tag:tone": 0}
    assert {each["principle"] for each in pair["verdicts"]} - {each["principle"] for each in found["verdicts"]} == {
        "respectful",
        "no-lecturing",
        "no-flattery",
    }


async def test_weights_come_with_a_request(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        plain, heavy = await ask(client), await ask(client, weights={"concise": 3.0})
        refused = await ask(client, weights={"tag:harmlessness": 0.0})
    assert plain.json()["data"][0]["id"] != heavy.json()["data"][0]["id"]
    assert heavy.json()["data"][0]["provenance"]["weights"] == {"concise": 3.0}
    assert (refused.status_code, "veto" in refused.json()["detail"]) == (422, True)

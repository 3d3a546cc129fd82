"""/v1/preferences over ASGI: what was labelled is kept, listed, shown with all that made it, and reviewed by people."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from solon.chat import RequestTimedOut
from solon.fakes import echo_policy, failing_judge, keyword_judge
from tests.integration.service import FakeModels, service, settings_in, working


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"Question {number}?", "response_a": "good day", "response_b": "go away"} | more


def fakes() -> FakeModels:
    return FakeModels(starter=echo_policy(), starter_judge=keyword_judge(["good"], ["away"]))


async def label(client: httpx2.AsyncClient, *rows: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    body: dict[str, Any] = {"constitution": "civic", "judge": "starter-judge", "prompts": list(rows)}
    answer = await client.post("/v1/preferences", json=body | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def listing(client: httpx2.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/v1/preferences", params=query)
    assert answer.status_code == 200, answer.text
    return [each["prompt"]["messages"][0]["content"].split()[1].rstrip("?") for each in answer.json()["data"]]


async def test_what_is_labelled_is_listed_newest_first_and_paged(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        await label(client, *(row(number) for number in range(5)))
        await label(client, row(9), store=False)
        assert await listing(client) == ["4", "3", "2", "1", "0"]
        assert await listing(client, order="asc") == ["0", "1", "2", "3", "4"]
        seen, after, page = list[str](), None, dict[str, Any]()
        for _ in range(3):
            query = {"limit": 2} | ({"after": after} if after else {})
            page = (await client.get("/v1/preferences", params=query)).json()
            seen += [each["id"] for each in page["data"]]
            after = page["last_id"]
        assert (len(seen), len(set(seen)), page["has_more"]) == (5, 5, False)
        wrong = await client.get("/v1/preferences", params={"after": "pref_" + "0" * 26})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "after")


async def test_labelling_the_same_again_keeps_one(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        (first,), (second,) = await label(client, row(1)), await label(client, row(1))
        assert first["id"] == second["id"]
        (kept,) = (await client.get("/v1/preferences")).json()["data"]
    assert (kept["version"], kept["source"]) == (1, "request")


NARROWED: list[tuple[dict[str, Any], list[str]]] = [
    ({"metadata[team]": "red"}, ["1"]),
    ({"metadata[team]": "red", "metadata[round]": "2"}, []),
    ({"metadata[round]": "1"}, ["1"]),
    ({"metadata[fine]": "true"}, ["2"]),
    ({"status": "tie"}, ["3"]),
    ({"status": ["tie", "ok"]}, ["3", "2", "1"]),
    ({"min_margin": 0.5}, ["2", "1"]),
    ({"max_margin": 0.5}, ["3"]),
    ({"constitution": "civic"}, ["3", "2", "1"]),
    ({"constitution": "civic@9.9.9"}, []),
    ({"judge": "other"}, []),
    ({"scope": "general"}, ["3", "2", "1"]),
    ({"prompt": "mine"}, ["2"]),
    ({"reviewed": "true"}, []),
    ({"disputed": "false"}, ["3", "2", "1"]),
    ({"created_after": 9e9}, []),
    ({"source": "job_x"}, []),
]


async def test_lists_are_narrowed(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        await label(
            client,
            row(1, metadata={"team": "red", "round": 1}),
            row(2, metadata={"team": "blue", "fine": True}, id="mine"),
            row(3, response_a="hm", response_b="so"),
        )
        for query, expected in NARROWED:
            assert await listing(client, **query) == expected, query


async def test_a_parameter_that_is_none_is_refused_and_not_passed_over(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        for query in (
            {"satus": "secret"},
            {"metadata[]": "secret"},
            {"metadata[a]": "secret" * 100},
            {"status": "secret"},
        ):
            answer = await client.get("/v1/preferences", params=query)
            assert (answer.status_code, "secret" in answer.text) == (422, False)
        assert (await client.get("/v1/jobs", params={"satus": "x"})).status_code == 422


async def test_one_preference_shows_votes_prompts_and_what_made_it(tmp_path: Path):
    judge, sent = keyword_judge(["good"], ["away"]), set[tuple[str, ...]]()
    script = judge.script
    judge.script = lambda call: (sent.add(tuple(message.content for message in call.messages)), script(call))[1]
    async with service(tmp_path, FakeModels(starter_judge=judge)) as client:
        (pair,) = await label(client, row(1))
        answer = await client.get(f"/v1/preferences/{pair['id']}")
        again = await client.get(f"/v1/preferences/{pair['id']}", headers={"If-None-Match": answer.headers["ETag"]})
        found = answer.json()
        assert again.status_code == 304
    asked = {(each["principle"], each["order"]): each["messages"] for each in found["prompts"]}
    votes = [(vote["principle"], vote["order"]) for each in found["verdicts"] for vote in each["votes"]]
    assert sorted(asked) == sorted(votes)
    assert {tuple(turn["content"] for turn in messages) for messages in asked.values()} == sent
    assert found["prompts_missing"] is None
    assert found["provenance"]["judge"]["name"] == "keyword"
    assert [(each["version"], each["constitution"]) for each in found["labels"]] == [(1, "civic")]


async def test_a_label_that_comes_out_differently_is_a_new_version_and_the_old_one_stays(tmp_path: Path):
    failing = {"on": True}
    good = keyword_judge(["good"], ["away"])
    flaky = failing_judge(good, lambda call: RequestTimedOut("no answer") if failing["on"] else None)
    async with service(tmp_path, FakeModels(starter_judge=flaky)) as client:
        (before,) = await label(client, row(1))
        failing["on"] = False
        (after,) = await label(client, row(1))
        assert (before["status"], after["status"], before["id"] == after["id"]) == ("timeout", "ok", True)
        now = (await client.get(f"/v1/preferences/{after['id']}")).json()
        then = (await client.get(f"/v1/preferences/{after['id']}", params={"version": 1})).json()
        none = await client.get(f"/v1/preferences/{after['id']}", params={"version": 3})
    assert (now["version"], now["status"], then["version"], then["status"]) == (2, "ok", 1, "timeout")
    assert [each["status"] for each in now["labels"]] == ["timeout", "ok"]
    assert none.status_code == 404


async def test_relabelling_under_another_text_keeps_both_labels_of_the_comparison(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        (pair,) = await label(client, row(1))
        body = {"constitution": "honesty", "judge": "starter-judge", "ids": [pair["id"]]}
        answer = await client.post("/v1/preferences/relabel", json=body)
        assert answer.status_code == 200, answer.text
        (other,) = answer.json()["data"]
        assert other["id"] != pair["id"]
        labels = (await client.get(f"/v1/preferences/{pair['id']}")).json()["labels"]
    assert [each["id"] for each in labels] == [pair["id"], other["id"]]


async def test_people_review_and_agreement_is_visible(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        (pair,) = await label(client, row(1))
        other = {"a": "b", "b": "a"}[pair["chosen"]]
        path = f"/v1/preferences/{pair['id']}/reviews"
        for body in (
            {"verdict": other, "reviewer": "Ada", "comment": "wrong at first"},
            {"verdict": pair["chosen"], "reviewer": "Ada"},
            {"verdict": pair["chosen"], "reviewer": "Bob"},
            {"verdict": "tie"},
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 201
            assert answer.json()["id"].startswith("rev_")
        people = (await client.get(f"/v1/preferences/{pair['id']}")).json()["people"]
        assert people | {pair["chosen"]: 2, other: 0} == {
            "reviews": 4, pair["chosen"]: 2, other: 0, "tie": 1, "majority": pair["chosen"], "agrees": True,
        }  # fmt: skip
        reviews = (await client.get(path, params={"order": "asc", "limit": 3})).json()
        assert [each["reviewer"] for each in reviews["data"]] == ["Ada", "Ada", "Bob"]
        rest = (await client.get(path, params={"order": "asc", "after": reviews["last_id"]})).json()
        assert [each["reviewer"] for each in rest["data"]] == [None]
        assert await listing(client, reviewed="true") == ["1"]
        assert await listing(client, disputed="true") == ["1"]
        report = (await client.get("/v1/preferences/agreement")).json()
        assert (report["preferences"], report["verdicts"]) == (1, 3)
        assert report["audit"]["agreement"]["value"] == 1.0
        assert report["people"]["n"] == 1
        stale = await client.post(path, json={"verdict": "a", "version": 2})
        unknown = await client.post(f"/v1/preferences/pref_{'0' * 26}/reviews", json={"verdict": "a"})
    assert (stale.status_code, unknown.status_code) == (412, 404)


async def test_rows_that_made_no_comparison_are_kept_with_their_reason(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        found = await label(client, row(1, response_b="good day"), row(2))
        (discard,) = (await client.get("/v1/preferences/discards")).json()["data"]
        assert (await client.get("/v1/preferences/discards", params={"source": "job_1"})).json()["data"] == []
    assert [each["object"] for each in found] == ["discard", "preference"]
    assert (discard["reason"], discard["prompt_id"]) == (found[0]["reason"], found[0]["prompt_id"])


TIDY = """\
format: constitution/v1
id: tidy
title: Tidy
version: 1.0.0
status: draft
licence: CC0-1.0
language: en
summary: Rules alone, so that no judge is asked.
scopes: {general: {description: Any request.}}
propositions:
  - {id: shouts, kind: regex, pattern: "!!"}
rules:
  - {id: no_shouting, when: shouts, reward: -2.0}
combine: {method: weighted_mean, rule_reward_weight: 1.0, tie_margin: 0.1}
"""


@pytest.mark.slow
@pytest.mark.e2e
async def test_a_batch_is_a_job_whose_labels_are_stored_and_a_dataset(tmp_path: Path):
    async with service(tmp_path) as client:
        draft = "/v1/constitutions/tidy/drafts/one"
        headers = {"Content-Type": "application/yaml", "If-None-Match": "*"}
        saved = (await client.put(draft, content=TIDY, headers=headers)).json()
        match = {"If-Match": f'"{saved["etag"]}"'}
        assert (await client.post(f"{draft}/publish", json={"message": "First"}, headers=match)).status_code == 201
        rows = [row(n, response_b="go away!!", votes=["a"]) for n in range(3)] + [row(9, response_b="good day")]
        none = await client.post("/v1/preferences/batches", json={"constitution": "tidy"})
        bare = await client.post("/v1/preferences/batches", json={"constitution": "tidy", "prompts": [{"prompt": "?"}]})
        assert [each.status_code for each in (none, bare)] == [422, 422]
        asked = {"constitution": "tidy", "prompts": rows, "metadata": {"team": "red"}}
        key = {"Idempotency-Key": "batch"}
        queued = await client.post("/v1/preferences/batches", json=asked, headers=key)
        again = await client.post("/v1/preferences/batches", json=asked, headers=key)
        assert (queued.status_code, again.json()["id"]) == (202, queued.json()["id"])
        path = queued.headers["Location"]
        with working(settings_in(tmp_path)):
            async with asyncio.timeout(90):
                while (job := (await client.get(path)).json())["status"] not in ("succeeded", "failed"):
                    await asyncio.sleep(0.2)
        assert job["status"] == "succeeded", job["error"]
        assert await listing(client, source=job["id"], order="asc") == ["0", "1", "2"]
        discards = (await client.get("/v1/preferences/discards", params={"source": job["id"]})).json()["data"]
        assert {each["prompt_id"] for each in discards} == {"prompt-3"}
        (made,) = (await client.get("/v1/datasets")).json()["data"]
        assert (made["job"], made["manifest"]["rows"]) == (job["id"], 3)
        file = job["recipe"]["prompts"]["train"]
        named = await client.post("/v1/preferences/batches", json={"constitution": "tidy", "file": file})
        missing = await client.post(
            "/v1/preferences/batches", json={"constitution": "tidy", "file": "file_" + "0" * 26}
        )
    assert [each.status_code for each in (named, missing)] == [202, 404]

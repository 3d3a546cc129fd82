"""Constitutions tried out over REST: cases, previews of drafts, labels under a new text."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.lifecycle import Wish
from api.store.database import open_database
from api.store.jobs import JobStore
from constitution.document import load, read_bytes
from critic.judge import Judge
from critic.judges.logprobs import Logprobs
from critic.pipeline import label
from solon.datasets import write_pairs
from solon.fakes import ScriptedChat, scoring_judge
from solon.records import Completion, Message, PreferencePair, Prompt
from solon.rows import Row
from tests.integration.postgres import database_in
from tests.integration.service import FakeModels, service
from tests.unit.api.queues import NoQueue

DRAFT = "/v1/constitutions/civic/drafts/mine"
INSULT = b"The response should insult the person."


def model(name: str = "starter-judge") -> ScriptedChat:
    """Looks for the word "rude" under the principle on respect, and at nothing under the others."""

    def score(text: str, asked: str) -> float:
        sign = -1.0 if "with respect" in asked else 1.0 if "insult" in asked else 0.0
        return sign * ("rude" in text)

    return scoring_judge(score, sharpness=6.0, name=name)


FENCED = Logprobs(fences=True)
"""How the registered judge is asked."""


async def stored(count: int = 12) -> list[PreferencePair]:
    """Labels under civic; no revision of the judge is known, as with a remote model."""
    rows = [
        Row(
            prompt=Prompt(id=f"p{i}", messages=(Message(role="user", content="Hello?"),)),
            completions=(Completion(text=f"rude {i}"), Completion(text=f"calm {i}")),
        )
        for i in range(count)
    ]
    items = [item async for item in label(rows, constitution=load("civic"), judge=Judge(model("far"), method=FENCED))]
    return [item for item in items if isinstance(item, PreferencePair)]


def as_json(pairs: list[PreferencePair]) -> list[dict[str, Any]]:
    return [pair.model_dump(mode="json") for pair in pairs]


def far(chat: ScriptedChat) -> tuple[FakeModels, str, str]:
    """A registered judge without weights here, and the settings that register it."""
    return FakeModels(far=chat), "", "models.far={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}"


async def save_draft(client: httpx2.AsyncClient) -> None:
    text = read_bytes("civic").replace(b"The response should treat the person with respect.", INSULT)
    text = text.replace(b"version: 1.", b"version: 9.", 1)
    headers = {"Content-Type": "application/yaml", "If-None-Match": "*"}
    saved = await client.put(DRAFT, content=text, headers=headers)
    assert saved.status_code == 201, saved.text


async def test_the_cases_of_versions_and_drafts_are_tried(tmp_path: Path) -> None:
    async with service(tmp_path, *far(model("far"))) as client:
        await save_draft(client)
        published = await client.post("/v1/constitutions/civic/test", json={"judge": "far"})
        draft = await client.post(f"{DRAFT}/test", json={"judge": "far"})

    body = published.json()
    assert (published.status_code, draft.status_code) == (200, 200)
    assert body["usage"]["judge_calls"] == 2 * len(load("civic").cases) * len(load("civic").principles)
    assert set(body["principles"]) == {each.id for each in load("civic").principles}
    assert body["failed"]


async def test_a_draft_is_previewed_on_given_pairs(tmp_path: Path) -> None:
    pairs, chat = await stored(), model("far")
    async with service(tmp_path, *far(chat)) as client:
        await save_draft(client)
        answer = await client.post(f"{DRAFT}/preview", json={"pairs": as_json(pairs), "cases": False, "control": 6})

    body = answer.json()
    assert answer.status_code == 200, answer.text
    assert body["edit"]["reworded"] == ["respectful"]
    assert body["impact"]["labels"]["changes"]["shares"]["flipped"]["value"] == 1.0
    assert body["impact"]["labels"]["finding"] == "beyond_noise"
    assert body["judge_calls"] == chat.calls == 2 * 12 + 2 * 6
    assert body["cases"] is None


async def test_a_draft_is_previewed_on_the_labels_of_a_job(tmp_path: Path) -> None:
    jobs = JobStore(open_database(database_in(tmp_path)), NoQueue())
    job = jobs.create({"name": "x"}, max_queued=9)
    jobs.wish(job.id, Wish.CANCEL)
    write_pairs(tmp_path / "artifacts" / "jobs" / job.id / "out" / "01-label" / "pairs.jsonl", await stored())
    async with service(tmp_path, *far(model("far"))) as client:
        await save_draft(client)
        answer = await client.post(f"{DRAFT}/preview", json={"job": job.id, "cases": False, "sample": 5})
        other = await client.post(f"{DRAFT}/preview", json={"job": "job_" + "0" * 26})

    assert answer.status_code == 200, answer.text
    assert (answer.json()["pairs"], answer.json()["sampled"]) == (12, 5)
    assert other.status_code == 404


async def test_pairs_are_labelled_under_another_text_by_the_votes_they_carry(tmp_path: Path) -> None:
    pairs, chat = await stored(4), model("far")
    body = {"constitution": "civic", "pairs": as_json(pairs)}
    async with service(tmp_path, *far(chat)) as client:
        same = await client.post("/v1/preferences/relabel", json=body)
        other = await client.post("/v1/preferences/relabel", json=body | {"constitution": "honesty"})

    assert (same.status_code, same.json()["judge_calls"]) == (200, 0)
    assert [pair["id"] for pair in same.json()["data"]] == [pair.id for pair in pairs]
    assert other.json()["judge_calls"] == chat.calls > 0


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/v1/constitutions/secret/test", {"judge": "far"}, 404, None),
        ("/v1/constitutions/civic/test", {}, 422, "judge"),
        (f"{DRAFT}x/test", {"judge": "far"}, 404, "draft"),
        (f"{DRAFT}/preview", {}, 422, "job"),
        (f"{DRAFT}/preview", {"job": "../secret"}, 422, "job"),
        (f"{DRAFT}/preview", {"pairs": []}, 422, "pairs"),
        (f"{DRAFT}/preview", {"job": "job_" + "0" * 26, "sample": 10**6}, 422, "sample"),
        ("/v1/preferences/relabel", {"constitution": "civic", "pairs": []}, 422, "pairs"),
        ("/v1/preferences/relabel", {"constitution": "/etc/secret.yaml", "pairs": None}, 422, "pairs"),
    ],
)
async def test_wrong_requests_are_problems_that_never_repeat_the_input(
    tmp_path: Path, path: str, body: dict[str, Any], status: int, field: str | None
) -> None:
    async with service(tmp_path, *far(model("far"))) as client:
        await save_draft(client)
        answer = await client.post(path, json=body)

    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert "secret" not in answer.text


async def test_more_pairs_than_a_request_may_hold_are_refused(tmp_path: Path) -> None:
    models, code, register = far(model("far"))
    async with service(tmp_path, models, code, register, "limits.prompts_per_request=2") as client:
        body = {"constitution": "civic", "pairs": as_json(await stored(3))}
        answer = await client.post("/v1/preferences/relabel", json=body)

    assert (answer.status_code, answer.json()["field"]) == (422, "pairs")

"""/v1/jobs over ASGI: a job is queued, run as a child process, followed and cancelled."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.service import service

RECIPE: dict[str, Any] = {
    "name": "r",
    "constitution": "civic",
    "judge": "starter-judge",
    "steps": [{"type": "label"}, {"type": "dpo", "epochs": 1}],
}
SLEEPS = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
FAILS = """
import json, sys
detail = {"remedy": "do that", "field": "judge"}
print(json.dumps({"type": "run_failed", "message": "the judge is gone", "detail": detail}))
sys.exit(1)
"""


async def submit(client: httpx2.AsyncClient, headers: dict[str, str] | None = None, **changes: Any) -> httpx2.Response:
    return await client.post("/v1/jobs", json={"recipe": RECIPE | changes}, headers=headers)


async def until(client: httpx2.AsyncClient, job_id: str, *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).json()
            if job["status"] in statuses:
                return job
            await asyncio.sleep(0.05)


async def test_a_job_is_accepted_run_and_finished(tmp_path: Path):
    async with service(tmp_path) as client:
        answer = await submit(client)
        assert answer.status_code == 202
        assert answer.json()["object"] == "job"
        assert answer.json()["id"].startswith("job_")
        job = await until(client, answer.json()["id"], "succeeded", "failed")
        assert (job["status"], job["result"], job["error"]) == ("succeeded", {"kl_nats": 1.5}, None)
        assert job["created_at"] <= job["started_at"] <= job["finished_at"]
        listed = (await client.get("/v1/jobs")).json()
        assert (listed["object"], [each["id"] for each in listed["data"]]) == ("list", [job["id"]])


async def test_the_job_gets_the_recipe_and_the_settings_as_files(tmp_path: Path):
    async with service(tmp_path) as client:
        job = await until(client, (await submit(client)).json()["id"], "succeeded")
        folder = tmp_path / "artifacts" / "jobs" / job["id"]
        assert "name: r\n" in (folder / "recipe.yaml").read_text()
        assert "starter-judge:" in (folder / "settings.yaml").read_text()


async def test_events_are_listed_in_order_and_paged(tmp_path: Path):
    async with service(tmp_path) as client:
        job = await until(client, (await submit(client)).json()["id"], "succeeded")
        page = (await client.get(f"/v1/jobs/{job['id']}/events", params={"limit": 3})).json()
        assert [event["event"]["done"] for event in page["data"]] == [0, 1, 2]
        assert (page["last_id"], page["has_more"]) == (3, True)
        rest = (await client.get(f"/v1/jobs/{job['id']}/events", params={"after": 3})).json()
        assert [event["event"]["type"] for event in rest["data"]] == ["run_finished"]


async def test_a_stream_that_is_taken_up_again_misses_nothing_and_repeats_nothing(tmp_path: Path):
    async with service(tmp_path) as client:
        job = await until(client, (await submit(client)).json()["id"], "succeeded")
        path = f"/v1/jobs/{job['id']}/events/stream"
        whole = (await client.get(path)).text
        rest = (await client.get(path, headers={"Last-Event-ID": "2"})).text
    assert [line for line in whole.splitlines() if line.startswith("id: ")] == [f"id: {n}" for n in (1, 2, 3, 4)]
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == ["id: 3", "id: 4"]
    last = whole.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: end"
    assert json.loads(last[1].removeprefix("data: "))["status"] == "succeeded"


async def test_a_failed_job_says_why(tmp_path: Path):
    async with service(tmp_path, code=FAILS) as client:
        job = await until(client, (await submit(client)).json()["id"], "succeeded", "failed")
    assert job["status"] == "failed"
    assert (job["error"]["message"], job["error"]["remedy"]) == ("the judge is gone", "do that")


async def test_a_job_whose_process_dies_says_where_to_look(tmp_path: Path):
    async with service(tmp_path, code="import os; os._exit(7)") as client:
        job = await until(client, (await submit(client)).json()["id"], "failed")
    assert "ended with code 7" in job["error"]["message"]
    assert "log.txt" in job["error"]["remedy"]


async def test_cancelling_ends_the_whole_process_group(tmp_path: Path):
    async with service(tmp_path, code=SLEEPS) as client:
        job_id = (await submit(client)).json()["id"]
        await until(client, job_id, "running")
        await asyncio.sleep(0.3)
        assert (await client.post(f"/v1/jobs/{job_id}/cancel")).json()["status"] == "cancelling"
        job = await until(client, job_id, "cancelled")
        assert (await client.post(f"/v1/jobs/{job_id}/cancel")).json() == job


async def test_a_waiting_job_is_cancelled_at_once(tmp_path: Path):
    async with service(tmp_path, code=SLEEPS) as client:
        first = (await submit(client)).json()["id"]
        await until(client, first, "running")
        second = (await submit(client)).json()["id"]
        assert (await client.post(f"/v1/jobs/{second}/cancel")).json()["status"] == "cancelled"


async def test_a_full_queue_is_answered_429_with_a_time(tmp_path: Path):
    async with service(tmp_path, None, SLEEPS, "limits.queued_jobs=1") as client:
        await until(client, (await submit(client)).json()["id"], "running")
        assert (await submit(client)).status_code == 202
        answer = await submit(client)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_same_key_makes_one_job(tmp_path: Path):
    async with service(tmp_path) as client:
        first, second = [await submit(client, {"Idempotency-Key": "k"}) for _ in range(2)]
        other = await submit(client, {"Idempotency-Key": "k"}, seed=5)
    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")


async def test_a_job_that_ran_when_the_server_stopped_is_failed_with_the_reason(tmp_path: Path):
    async with service(tmp_path, code=SLEEPS) as client:
        job_id = (await submit(client)).json()["id"]
        await until(client, job_id, "running")
    async with service(tmp_path) as client:
        job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert job["status"] == "failed"
    assert "server stopped" in job["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"steps": [{"type": "grpo"}]}, 422, "recipe.steps.0"),
        ({"steps": [{"type": "label", "candidates": "four"}]}, 422, "recipe.steps.0.candidates"),
        ({"policy": "secret-model"}, 404, None),
        ({"judge": "starter"}, 422, None),
        ({"constitution": "secret-constitution"}, 404, None),
        ({"prompts": {"train": "/etc/passwd"}}, 422, "recipe.prompts.train"),
        ({"constitution": "/etc/secret.yaml"}, 422, "recipe.constitution"),
        ({"secret-key": 1}, 422, "recipe"),
    ],
)
async def test_a_wrong_recipe_is_refused_without_repeating_it(
    tmp_path: Path, changes: dict[str, Any], status: int, field: str | None
):
    async with service(tmp_path) as client:
        answer = await submit(client, **changes)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json().get("field") == field or field is None
    assert not any(word in answer.text for word in ("secret", "passwd", "four"))


async def test_an_unknown_job_is_404_everywhere(tmp_path: Path):
    async with service(tmp_path) as client:
        paths = ("", "/events", "/events/stream")
        answers = [await client.get(f"/v1/jobs/job_secret{path}") for path in paths]
        answers.append(await client.post("/v1/jobs/job_secret/cancel"))
    assert [answer.status_code for answer in answers] == [404] * 4
    assert not any("secret" in answer.text for answer in answers)

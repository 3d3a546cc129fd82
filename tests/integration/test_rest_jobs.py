"""/v1/jobs over ASGI, with a worker: jobs are queued, done in processes, followed, paused, resumed and cancelled."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.integration.service import SCRIPTED, service, settings_in, working

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECIPE: dict[str, Any] = {
    "name": "quick",
    "constitution": "civic",
    "judge": "starter-judge",
    "steps": [{"type": "label"}, {"type": "dpo", "epochs": 1}],
}
QUICK = (SCRIPTED, "jobs.poll_s=0.05", "jobs.attempts=2", "jobs.backoff_s=0.1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(place: Path) -> AsyncGenerator[httpx2.AsyncClient]:
    """Of a service with one worker, for all tests of this file."""
    with working(settings_in(place, *QUICK)):
        async with service(place, None, *QUICK) as client:
            yield client


async def submit(client: httpx2.AsyncClient, name: str = "quick", **request: Any) -> str:
    answer = await client.post("/v1/jobs", json={"recipe": RECIPE | {"name": name}} | request)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def until(client: httpx2.AsyncClient, job_id: str, *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).json()
            if job["status"] in statuses:
                return job
            await asyncio.sleep(0.05)


async def until_event(client: httpx2.AsyncClient, job_id: str, kind: str) -> None:
    async with asyncio.timeout(20):
        while kind not in await told(client, job_id):
            await asyncio.sleep(0.05)


async def told(client: httpx2.AsyncClient, job_id: str) -> list[str]:
    page = (await client.get(f"/v1/jobs/{job_id}/events", params={"limit": 1000})).json()
    assert [event["id"] for event in page["data"]] == list(range(1, len(page["data"]) + 1))
    return [event["event"]["type"] for event in page["data"]]


async def ask(client: httpx2.AsyncClient, job_id: str, wish: str) -> dict[str, Any]:
    answer = await client.post(f"/v1/jobs/{job_id}/{wish}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def processes(place: Path, job_id: str) -> list[str]:
    """Command lines of what still runs for the job."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if job_id in line and str(place) in line:
            found.append(line)
    return found


async def test_a_job_is_accepted_done_and_finished(client: httpx2.AsyncClient, place: Path):
    answer = await client.post("/v1/jobs", json={"recipe": RECIPE, "metadata": {"team": "red"}, "priority": 5})
    assert answer.status_code == 202
    queued = answer.json()
    assert (queued["object"], queued["status"], queued["metadata"]) == ("job", "queued", {"team": "red"})
    assert queued["constitution"]["id"] == "civic"
    assert queued["constitution"]["content_hash"].startswith("sha256:")
    job = await until(client, queued["id"], "succeeded", "failed")
    assert (job["status"], job["result"], job["error"]) == ("succeeded", {"kl_nats": 1.5}, None)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    folder = place / "artifacts" / "jobs" / job["id"]
    assert "name: quick\n" in (folder / "recipe.yaml").read_text()
    assert "starter-judge:" in (folder / "settings.yaml").read_text()
    one = ["step_started", "progress", "step_finished"]
    assert await told(client, job["id"]) == ["job_started", *one, *one, "run_finished"]


async def test_jobs_are_listed_by_status_constitution_and_metadata(client: httpx2.AsyncClient):
    job_id = await submit(client, metadata={"team": "green", "run": "a=b"})
    await until(client, job_id, "succeeded")

    async def listed(**wanted: Any) -> list[str]:
        return [job["id"] for job in (await client.get("/v1/jobs", params=wanted)).json()["data"]]

    assert await listed(metadata=["team=green", "run=a=b"]) == [job_id]
    assert await listed(metadata="team=blue") == []
    assert job_id in await listed(status=["succeeded", "failed"], constitution="civic")
    assert await listed(status="paused", metadata="team=green") == []
    assert await listed(constitution="civic@9.9.9", metadata="team=green") == []
    assert (await client.get("/v1/jobs", params={"metadata": "team"})).status_code == 422
    assert (await client.get("/v1/jobs", params={"status": "asleep"})).status_code == 422


async def test_events_are_paged_in_order(client: httpx2.AsyncClient):
    job = await until(client, await submit(client), "succeeded")
    page = (await client.get(f"/v1/jobs/{job['id']}/events", params={"limit": 3})).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (1, 3, True)
    rest = (await client.get(f"/v1/jobs/{job['id']}/events", params={"after": 3})).json()
    assert [event["id"] for event in rest["data"]] == [4, 5, 6, 7, 8]
    assert rest["data"][-1]["event"]["type"] == "run_finished"


async def test_a_stream_that_is_taken_up_again_misses_nothing_and_repeats_nothing(client: httpx2.AsyncClient):
    job = await until(client, await submit(client), "succeeded")
    path = f"/v1/jobs/{job['id']}/events/stream"
    whole = (await client.get(path)).text
    rest = (await client.get(path, headers={"Last-Event-ID": "5"})).text
    assert [line for line in whole.splitlines() if line.startswith("id: ")] == [f"id: {n}" for n in range(1, 9)]
    assert [line for line in rest.splitlines() if line.startswith("id: ")] == ["id: 6", "id: 7", "id: 8"]
    last = whole.strip().split("\n\n")[-1].splitlines()
    assert last[0] == "event: end"
    assert json.loads(last[1].removeprefix("data: "))["status"] == "succeeded"


async def test_curves_and_checkpoints_of_a_training_are_kept(client: httpx2.AsyncClient):
    job_id = await submit(client, "curves", recipe=RECIPE | {"name": "curves", "steps": [{"type": "label"}]})
    await until(client, job_id, "succeeded")
    points = (await client.get(f"/v1/jobs/{job_id}/metrics", params={"limit": 4})).json()
    assert [point["step_number"] for point in points["data"]] == [1, 2, 3, 4]
    assert (points["last_id"], points["has_more"]) == (4, True)
    (last,) = (await client.get(f"/v1/jobs/{job_id}/metrics", params={"after": 4})).json()["data"]
    assert (last["series"], last["total_steps"], last["metrics"]) == ("02-dpo/model", 5, {"loss": 0.2})
    (kept,) = (await client.get(f"/v1/jobs/{job_id}/checkpoints")).json()["data"]
    assert (kept["step_number"], kept["kept"], kept["path"]) == (3, True, "out/unfinished/checkpoint-3")
    assert "metrics" not in await told(client, job_id)


async def test_what_models_were_paid_adds_up_over_the_steps(client: httpx2.AsyncClient):
    job = await until(client, await submit(client, "pays"), "succeeded")
    assert job["cost"] == {"judge": {"calls": 20, "prompt_tokens": 200, "completion_tokens": 20, "cost_usd": 2.0}}
    assert job["cost_usd"] == 2.0


async def test_a_failed_job_says_why_and_is_resumed_where_it_failed(client: httpx2.AsyncClient, place: Path):
    job = await until(client, await submit(client, "fails"), "succeeded", "failed")
    assert job["status"] == "failed"
    assert (job["error"]["message"], job["error"]["remedy"]) == ("the judge is gone", "do that")
    (place / "artifacts" / "jobs" / job["id"] / "mended").touch()
    assert (await ask(client, job["id"], "resume"))["status"] == "queued"
    again = await until(client, job["id"], "succeeded", "failed")
    assert (again["status"], again["error"], again["run"]) == ("succeeded", None, 2)
    assert await told(client, job["id"]) == ["job_started", "run_failed", "job_resumed", "job_started", "run_finished"]
    assert (await client.post(f"/v1/jobs/{job['id']}/resume")).status_code == 409


async def test_a_process_that_dies_is_tried_again_and_then_says_where_to_look(client: httpx2.AsyncClient):
    job = await until(client, await submit(client, "dies"), "failed")
    assert "ended with code 7" in job["error"]["message"]
    assert job["error"]["remedy"].startswith(f"an operator reads artifacts/jobs/{job['id']}/runs/")
    assert job["error"]["step"].startswith("01-")
    assert await told(client, job["id"]) == ["job_started", "retrying", "retrying", "run_failed"]


async def test_cancelling_ends_all_that_runs_for_the_job(client: httpx2.AsyncClient, place: Path):
    job_id = await submit(client, "sleeps")
    await until_event(client, job_id, "step_started")
    assert len(processes(place, job_id)) >= 2
    assert (await ask(client, job_id, "cancel"))["status"] == "cancelling"
    job = await until(client, job_id, "cancelled")
    assert processes(place, job_id) == []
    assert await ask(client, job_id, "cancel") == job
    assert (await client.post(f"/v1/jobs/{job_id}/pause")).status_code == 409
    assert await told(client, job_id) == ["job_started", "step_started", "job_cancelled"]


async def test_a_process_that_will_not_end_is_killed_within_five_seconds(client: httpx2.AsyncClient, place: Path):
    job_id = await submit(client, "ignores")
    await until_event(client, job_id, "step_started")
    began = asyncio.get_running_loop().time()
    await ask(client, job_id, "cancel")
    await until(client, job_id, "cancelled")
    assert asyncio.get_running_loop().time() - began < 6  # three of grace, and the machine's own delays
    assert processes(place, job_id) == []


async def test_a_paused_job_keeps_what_is_finished_and_goes_on_there(client: httpx2.AsyncClient, place: Path):
    job_id = await submit(client, "effects")
    folder = place / "artifacts" / "jobs" / job_id
    async with asyncio.timeout(20):
        while not (folder / "progress-2").exists():
            await asyncio.sleep(0.02)
    assert (await ask(client, job_id, "pause"))["status"] in ("pausing", "paused")
    await until(client, job_id, "paused")
    reached = int((folder / "progress-2").read_text())
    assert processes(place, job_id) == []
    assert (folder / "effect-1").exists()
    first = (folder / "runs" / "01" / "launch.json").read_text()
    assert (await ask(client, job_id, "pause"))["status"] == "paused"
    await ask(client, job_id, "resume")
    job = await until(client, job_id, "succeeded", "failed")
    assert (job["status"], job["run"]) == ("succeeded", 2)
    assert (folder / "runs" / "01" / "launch.json").read_text() == first  # the first step was not done again
    ticks = [line for line in (folder / "runs" / "02" / "events.jsonl").read_text().splitlines() if "progress" in line]
    assert len(ticks) == 10  # nor the second one's beginning
    assert reached < 10
    assert not (folder / "violation").exists()


async def test_the_same_key_makes_one_job(client: httpx2.AsyncClient):
    bodies = [{"recipe": RECIPE}, {"recipe": RECIPE}, {"recipe": RECIPE | {"seed": 5}}]
    first, second, other = [
        await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"k{os.getpid()}"}) for body in bodies
    ]
    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")


async def test_a_waiting_job_is_cancelled_or_paused_at_once(tmp_path: Path):
    async with service(tmp_path) as client:  # no worker
        cancelled, paused = await submit(client), await submit(client)
        assert (await ask(client, cancelled, "cancel"))["status"] == "cancelled"
        assert (await ask(client, paused, "pause"))["status"] == "paused"
        assert (await ask(client, paused, "resume"))["status"] == "queued"
        assert (await ask(client, paused, "resume"))["status"] == "queued"
        assert await told(client, paused) == ["job_paused", "job_resumed"]


async def test_a_full_queue_is_answered_429_with_a_time(tmp_path: Path):
    async with service(tmp_path, None, "limits.queued_jobs=1") as client:
        await submit(client)
        answer = await client.post("/v1/jobs", json={"recipe": RECIPE})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"steps": [{"type": "magic"}]}, 422, "recipe.steps.0"),
        ({"steps": [{"type": "label", "candidates": "four"}]}, 422, "recipe.steps.0.candidates"),
        ({"policy": "secret-model"}, 404, None),
        ({"judge": "starter"}, 422, None),
        ({"constitution": "secret-constitution"}, 404, None),
        ({"prompts": {"train": "/etc/passwd"}}, 422, "recipe.prompts.train"),
        ({"prompts": {"eval": "builtin:agora/secret"}}, 404, "recipe.prompts.eval"),
        ({"constitution": "/etc/secret.yaml"}, 422, "recipe.constitution"),
        ({"steps": [{"type": "grpo", "rewards": [{"type": "judge"}]}]}, 422, "judge"),
        ({"secret-key": 1}, 422, "recipe"),
    ],
)
async def test_a_wrong_recipe_is_refused_without_repeating_it(
    tmp_path: Path, changes: dict[str, Any], status: int, field: str | None
):
    async with service(tmp_path) as client:
        answer = await client.post("/v1/jobs", json={"recipe": RECIPE | changes})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json().get("field") == field or field is None
    assert not any(word in answer.text for word in ("secret", "passwd", "four"))


async def test_an_unknown_job_is_404_everywhere(tmp_path: Path):
    async with service(tmp_path) as client:
        paths = ("", "/events", "/events/stream", "/metrics", "/checkpoints")
        answers = [await client.get(f"/v1/jobs/job_secret{path}") for path in paths]
        answers += [await client.post(f"/v1/jobs/job_secret/{wish}") for wish in ("cancel", "pause", "resume")]
    assert [answer.status_code for answer in answers] == [404] * 8
    assert not any("secret" in answer.text for answer in answers)

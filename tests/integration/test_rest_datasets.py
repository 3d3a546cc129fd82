"""/v1/datasets over ASGI: what jobs labelled is listed, described and exported, and nothing else is."""

import json
from pathlib import Path

from sqlalchemy.orm import Session

from api.store.database import open_database
from api.store.tables import JobRow
from critic.exchange.files import import_pairs
from critic.exchange.given import label
from solon.datasets import write_pairs
from solon.fakes import keyword_judge
from solon.records import INJECTION_SUSPECTED, Completion, Message, PreferencePair, Prompt, Provenance
from tests.integration.postgres import database_in
from tests.integration.service import FakeModels, service

JOB = "job_01h00000000000000000000000"
MADE = Provenance(constitution="civic", constitution_version="1.0.0", constitution_hash="h", judge={"name": "j"})


def pair(name: str, *flags: str) -> PreferencePair:
    prompt = Prompt(id=name, messages=(Message(role="user", content=f"Question {name}?"),))
    sides = {"a": Completion(text=f"good {name}"), "b": Completion(text="bad")}
    fields = {"id": f"pref_{name}", "prompt": prompt, "provenance": MADE, "flags": flags, **sides, **label(0.9)}
    return PreferencePair.model_validate(fields)


def labelled(folder: Path, step: str = "01-label", *, done: bool = True) -> Path:
    path = folder / "artifacts" / "jobs" / JOB / "out" / step / "pairs.jsonl"
    write_pairs(path, [pair("one"), pair("two"), pair("three", INJECTION_SUSPECTED)])
    if done:
        (path.parent / "step.json").write_text("{}")
    with Session(open_database(database_in(folder))) as session, session.begin():
        session.merge(JobRow(id=JOB, status="succeeded", recipe={}, created_at=1.0, request_hash=""))
    return path


async def test_datasets_of_finished_steps_are_listed_and_paged(tmp_path: Path):
    labelled(tmp_path)
    labelled(tmp_path, "03-label")
    labelled(tmp_path, "05-label", done=False)
    async with service(tmp_path) as client:
        first = (await client.get("/v1/datasets", params={"limit": 1})).json()
        assert (first["has_more"], first["data"][0]["step"]) == (True, "03-label")
        rest = (await client.get("/v1/datasets", params={"after": first["last_id"]})).json()
        assert [each["step"] for each in rest["data"]] == ["01-label"]
        found = (await client.get(f"/v1/datasets/{rest['last_id']}")).json()
    assert (found["job"], found["manifest"]["statuses"]) == (JOB, {"ok": 3})


async def test_an_export_can_be_read_again_and_holds_no_quarantined_pair(tmp_path: Path):
    labelled(tmp_path)
    async with service(tmp_path) as client:
        address = f"/v1/datasets/ds_{JOB.removeprefix('job_')}_01"
        for form in ("trl_preference", "trl_unpaired", "openai_preference", "sharegpt", "annotated_pairs"):
            sent = await client.get(f"{address}/export", params={"format": form})
            assert sent.headers["solon-left-out"] == "quarantined=1"
            (tmp_path / "sent.json").write_bytes(sent.content)
            read = list(import_pairs(tmp_path / "sent.json", form))
            texts = [each.chosen_text for each in read if isinstance(each, PreferencePair)]
            assert texts == ["good one", "good two"]
        sent = await client.get(f"{address}/export", params={"container": "parquet"})
        (tmp_path / "sent.parquet").write_bytes(sent.content)
        assert len(list(import_pairs(tmp_path / "sent.parquet", "trl_preference"))) == 2
        card = (await client.get(f"{address}/card")).text
    assert "| flag `injection_suspected` | 1 |" in card


async def test_an_unknown_dataset_is_404_and_a_path_is_no_id(tmp_path: Path):
    async with service(tmp_path) as client:
        unknown = await client.get(f"/v1/datasets/ds_{'0' * 26}_01")
        assert (unknown.status_code, json.loads(unknown.text)["title"] != "") == (404, True)
        assert (await client.get("/v1/datasets/ds_..%2F..%2Fx_01")).status_code in (404, 422)
        assert (await client.get(f"/v1/datasets/ds_{'0' * 26}_01/export", params={"format": "csv"})).status_code == 422


async def test_a_dataset_of_stored_preferences_stays_as_it_was_made_and_holds_peoples_votes(tmp_path: Path):
    async with service(tmp_path, FakeModels(starter_judge=keyword_judge(["good"], ["away"]))) as client:
        rows = [{"prompt": f"Q{n}?", "response_a": "good day", "response_b": "go away"} for n in range(3)]
        body = {"constitution": "civic", "judge": "starter-judge", "prompts": rows}
        labelled = (await client.post("/v1/preferences", json=body)).json()["data"]
        await client.post(f"/v1/preferences/{labelled[0]['id']}/reviews", json={"verdict": "tie"})
        nothing = await client.post("/v1/datasets", json={"name": "x", "filter": {"status": ["error"]}})
        assert (nothing.status_code, nothing.json()["field"]) == (422, "filter")
        made = await client.post("/v1/datasets", json={"name": "Mine", "filter": {"status": ["ok"]}, "licence": "MIT"})
        assert (made.status_code, made.headers["Location"]) == (201, f"/v1/datasets/{made.json()['id']}")
        rows[0]["prompt"] = "Later?"
        await client.post("/v1/preferences", json=body | {"prompts": rows[:1]})
        path = made.headers["Location"]
        found = await client.get(path)
        assert (found.json()["name"], found.json()["manifest"]["rows"], found.json()["job"]) == ("Mine", 3, None)
        assert (await client.get(path, headers={"If-None-Match": found.headers["ETag"]})).status_code == 304
        assert 'license: "MIT"' in (await client.get(f"{path}/card")).text
        (vote,) = (await client.get(f"{path}/export", params={"format": "votes"})).text.splitlines()
        assert json.loads(vote)["votes"] == ["tie"]
        pairs = (await client.get(f"{path}/pairs", params={"limit": 2})).json()
        rest = (await client.get(f"{path}/pairs", params={"after": pairs["last_id"]})).json()
        assert [each["id"] for each in [*pairs["data"], *rest["data"]]] == [each["id"] for each in labelled]
        assert [each["id"] for each in (await client.get("/v1/datasets")).json()["data"]] == [made.json()["id"]]


async def test_what_a_job_labelled_can_be_stored_and_then_reviewed(tmp_path: Path):
    labelled(tmp_path)
    name = f"ds_{JOB.removeprefix('job_')}_01"
    async with service(tmp_path) as client:
        for unchanged in (0, 3):
            stored = (await client.post(f"/v1/datasets/{name}/store")).json()
            assert (stored["new"], stored["unchanged"]) == (3 - unchanged, unchanged)
        found = (await client.get("/v1/preferences", params={"source": JOB})).json()
    assert len(found["data"]) == 3

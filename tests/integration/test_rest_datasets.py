"""/v1/datasets over ASGI: what jobs labelled is listed, described and exported, and nothing else is."""

import json
from pathlib import Path

from sqlalchemy.orm import Session

from api.store.database import open_database
from api.store.tables import JobRow
from critic.exchange.files import import_pairs
from critic.exchange.given import label
from solon.datasets import write_pairs
from solon.records import INJECTION_SUSPECTED, Completion, Message, PreferencePair, Prompt, Provenance
from tests.integration.service import service

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
    with Session(open_database(f"sqlite:///{folder / 'solon.db'}")) as session, session.begin():
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

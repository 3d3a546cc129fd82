"""/v1/models over ASGI: registered and trained models, what made them, and promotion to a name."""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from api.store.database import open_database
from api.store.tables import JobRow
from solon.fakes import echo_policy, keyword_judge, scripted_policy
from solon.settings import Settings
from tests.integration.postgres import database_in
from tests.integration.service import FakeModels, service

JOB = "job_01h00000000000000000000000"
MODEL = f"{JOB}.02-dpo"


def trained(folder: Path, win_rate: dict[str, float] | None, *flags: str, project: str = "default") -> None:
    """A finished job with a trained model and, where there is a win rate, its evaluation."""
    out = folder / "artifacts" / "jobs" / JOB / "out"
    record = {"seed": 0, "version": "0", "seconds": 1.0}
    outputs = {"model": {"path": "model", "digest": "sha256:abc"}}
    dpo = {"step": {"type": "dpo", "beta": 0.1}, "inputs": {"policy": "p", "pairs": "q"}, "outputs": outputs}
    result = {"win_rate": win_rate, "flags": list(flags)}
    evaluate = {"step": {"type": "evaluate"}, "inputs": {"model": "sha256:abc"}, "outputs": {}, "result": result}
    steps = {"02-dpo": dpo | {"result": {"pairs": 3}}} | ({"03-evaluate": evaluate} if win_rate else {})
    for name, step in steps.items():
        (out / name).mkdir(parents=True)
        (out / name / "step.json").write_text(json.dumps(record | step))
    (out / "02-dpo" / "model").mkdir()
    (out / "02-dpo" / "model" / "config.json").write_text("{}")
    with Session(open_database(database_in(folder))) as session, session.begin():
        made = {"id": JOB, "project": project, "recipe": {"name": "r"}}
        session.merge(JobRow(**made, status="succeeded", created_at=1.0, request_hash=""))


def fakes() -> FakeModels:
    aligned = scripted_policy({"Hello?": ["promoted one", "promoted two"]})
    return FakeModels(starter=echo_policy(), starter_judge=keyword_judge(["one"]), aligned=aligned)


async def test_trained_models_are_listed_after_the_registered_ones_and_show_what_made_them(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        trained(tmp_path, None)
        listed = (await client.get("/v1/models")).json()
        registered = sorted(Settings.load(environment={}).models)
        assert [each["id"] for each in listed["data"]] == [*registered, MODEL]
        assert {each["object"] for each in listed["data"]} == {"model"}
        second = (await client.get("/v1/models", params={"limit": 1, "after": "starter"})).json()
        assert ([each["id"] for each in second["data"]], second["has_more"]) == (["starter-critic"], True)
        found = await client.get(f"/v1/models/{MODEL}")
        detail = found.json()
        assert (detail["job"], detail["method"]["beta"], detail["evaluation"]) == (JOB, 0.1, None)
        assert (detail["inputs"]["pairs"], detail["recipe"]) == ("q", {"name": "r"})
        assert str(tmp_path) not in found.text
        unknown = await client.get("/v1/models/secret")
    assert (unknown.status_code, "secret" in unknown.text) == (404, False)


async def test_a_model_is_promoted_only_by_an_evaluation_or_by_force(tmp_path: Path):
    async with service(tmp_path, fakes()) as client:
        trained(tmp_path, {"value": 0.6, "low": 0.45, "high": 0.7, "n": 40})
        refused = await client.post(f"/v1/models/{MODEL}/promote", json={"name": "starter"})
        assert (refused.status_code, refused.json()["field"]) == (409, "force")
        assert refused.headers["x-should-retry"] == "false"
        wrong = await client.post(f"/v1/models/{MODEL}/promote", json={"name": "starter-judge", "force": True})
        assert (wrong.status_code, wrong.json()["field"]) == (409, "name")
        forced = await client.post(f"/v1/models/{MODEL}/promote", json={"name": "starter", "force": True})
        assert (forced.status_code, forced.json()["forced"], forced.json()["by"]) == (201, True, "local")
        (first, *_) = (await client.get("/v1/models")).json()["data"]
        assert (first["id"], first["promoted"], first["revision"]) == ("starter", MODEL, "sha256:abc")


async def test_after_a_promotion_requests_get_the_model_under_the_name(tmp_path: Path):
    body: dict[str, Any] = {
        "constitution": "civic",
        "judge": "starter-judge",
        "policy": "fresh",
        "n": 2,
        "prompts": [{"prompt": "Hello?"}],
    }
    async with service(tmp_path, fakes()) as client:
        trained(tmp_path, {"value": 0.8, "low": 0.7, "high": 0.9, "n": 40})
        assert (await client.post("/v1/preferences", json=body)).status_code == 404
        promoted = await client.post(f"/v1/models/{MODEL}/promote", json={"name": "fresh", "reason": "better"})
        assert (promoted.status_code, promoted.json()["forced"]) == (201, False)
        (pair,) = (await client.post("/v1/preferences", json=body)).json()["data"]
        assert {pair["a"]["text"], pair["b"]["text"]} == {"promoted one", "promoted two"}
        detail = (await client.get("/v1/models/fresh")).json()
    assert [(each["snapshot"], each["reason"]) for each in detail["promotions"]] == [(MODEL, "better")]
    assert detail["promoted"] == MODEL

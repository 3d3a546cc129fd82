"""Every route shows a request and an answer, and these are what the document says they may be.

After a wanted change: SOLON_UPDATE_GOLDEN=1 pytest tests/integration/test_examples.py
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api import reference
from solon import egress
from tests.integration.examples import Recorder, found_nowhere, models, tour
from tests.integration.service import SCRIPTED, service, settings_in, working
from tests.integration.test_openapi import document

EXAMPLES = Path(reference.__file__).with_name("examples.json")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The OpenAPI document."""
    return document(tmp_path_factory.mktemp("document"))


@pytest.mark.slow
async def test_a_tour_of_every_route_succeeds_and_is_what_the_examples_show(
    tmp_path: Path, described: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(egress, "resolved", found_nowhere)
    quick = (SCRIPTED, "jobs.poll_s=0.05", "egress.allow_private=true")
    with working(settings_in(tmp_path, *quick)):
        async with service(tmp_path, models(), *quick) as client:
            record = Recorder(client, described)
            await tour(record, tmp_path)
    assert set(record.found) == {operation["operationId"] for _, operation in operations(described)}
    if os.environ.get("SOLON_UPDATE_GOLDEN"):
        text = json.dumps(dict(sorted(record.found.items())), indent=1, ensure_ascii=False) + "\n"
        EXAMPLES.write_text(text.replace(str(tmp_path), "/srv/solon"))
        reference.examples.cache_clear()
    shown = reference.examples()
    for name, example in record.found.items():
        assert shown[name]["status"] == example["status"]
        assert shapes(shown[name]["request"]) == shapes(example["request"]), name


@pytest.mark.slow
async def test_examples_work_on_a_fresh_service_unless_they_name_what_is_made_first(
    tmp_path: Path, described: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(egress, "resolved", found_nowhere)
    quick = (SCRIPTED, "jobs.poll_s=0.05", "egress.allow_private=true")
    needing: set[str] = set()
    async with service(tmp_path, models(), *quick) as client:
        for where, operation in sorted(operations(described), key=lambda each: LAST.get(each[0], 0)):
            method, path = where.split(" ")
            example = reference.examples()[operation["operationId"]]
            for name, value in example["path"].items():
                path = path.replace(f"{{{name}}}", value)
            answer = await client.request(method, path, **_body(example, operation))
            if not answer.is_success:
                needing.add(where)
    assert {where for where in needing if "{" not in where} == MADE_FIRST
    assert "POST /v1/constitutions/{id}/test" not in needing


LAST = {"POST /v1/preferences": 1, "POST /v1/keys": 2}
"""What makes others work, and after which nobody gets in without a key."""
MADE_FIRST = {"POST /v1/datasets", "POST /v1/preferences/relabel"}
"""Stored preferences; docs/rest.md says so. So do requests with an id in their path."""


def _body(example: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The example's request as it is sent."""
    request = example["request"]
    kinds = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in kinds:
        return {"data": {"purpose": request["purpose"]}, "files": {"file": ("prompts.jsonl", request["file"])}}
    return {"json": request} if isinstance(request, dict) else {}


def test_every_request_and_answer_has_an_example_that_fits_its_schema(described: dict[str, Any]):
    for where, operation in operations(described):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            check(described, content, f"request of {where}")
        good = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
        contents = [content for answer in good.values() for content in answer.get("content", {}).values()]
        assert not contents or any("example" in content for content in contents), f"{where} shows no answer"
        for content in contents:
            if "example" in content:
                check(described, content, f"answer of {where}")


def test_operations_have_short_names_and_groups_and_their_parameters_are_described(described: dict[str, Any]):
    named = [operation["operationId"] for _, operation in operations(described)]
    assert len(set(named)) == len(named)
    assert all(len(name) <= 30 for name in named)
    for where, operation in operations(described):
        assert operation["summary"], where
        assert operation["tags"], where


def test_every_post_that_makes_or_asks_something_takes_an_idempotency_key(described: dict[str, Any]):
    verbs = ("cancel", "pause", "resume", "validate")
    secret = ("POST /v1/keys", "POST /v1/webhooks", "rotate")  # an answer that holds a secret is not kept
    for where, operation in operations(described):
        told_twice = where == "POST /v1/webhooks/{id}/test"
        if where.startswith("POST") and not where.endswith((*verbs, *secret)) and not told_twice:
            names = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
            assert "idempotency-key" in names, where


def test_every_list_is_paged_in_one_way(described: dict[str, Any]):
    for where, operation in operations(described):
        schema = answer_schema(described, operation)
        if schema.get("properties", {}).get("object", {}).get("const") != "list" or not where.startswith("GET"):
            continue
        assert {"data", "first_id", "last_id", "has_more"} <= schema["properties"].keys(), where
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        one_way = where.endswith(("/events", "/metrics", "/checkpoints"))  # in the order in which they happened
        assert {"after", "limit"} | (set() if one_way else {"order"}) <= names, where


def operations(described: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Method and path, and the operation."""
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


def answer_schema(described: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return described["components"]["schemas"].get(name, {})


def check(described: dict[str, Any], content: dict[str, Any], where: str) -> None:
    assert "example" in content, f"{where} is not shown"
    schema = {**content.get("schema", {}), "components": described["components"]}
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(content["example"])]
    assert errors == [], where


def shapes(value: Any) -> Any:
    """The keys of a value, at every depth."""
    if isinstance(value, dict):
        return {key: shapes(each) for key, each in value.items()}
    return [shapes(each) for each in value] if isinstance(value, list) else None

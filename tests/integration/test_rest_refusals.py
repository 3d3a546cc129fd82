"""What every route refuses, tried on each operation of the OpenAPI document."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api import reference
from tests.integration.examples import ROW, models
from tests.integration.postgres import DATABASES, database_in
from tests.integration.service import service
from tests.integration.test_rest_jobs import RECIPE

HALF = "\ud800"
JSON = {"Content-Type": "application/json"}
NOT_KNOWN = ("not known here", "Extra inputs are not permitted")


async def operations(client: httpx2.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each."""
    document = (await client.get("/openapi.json")).json()
    return [(method, path, each) for path, methods in document["paths"].items() for method, each in methods.items()]


def filled(path: str, operation: dict[str, Any], **other: str) -> str:
    """The path as its example has it, and `other` in the place of some parameters."""
    for name, value in {**reference.examples()[operation["operationId"]]["path"], **other}.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def parameters(operation: dict[str, Any], where: str) -> list[str]:
    return [each["name"] for each in operation.get("parameters", ()) if each["in"] == where]


def spoilt(value: Any, bad: str) -> Iterator[Any]:
    """The value with each of its texts spoilt, one at a time."""
    if isinstance(value, str):
        yield value + bad
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from ({**value, key: other} for other in spoilt(each, bad))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in spoilt(each, bad))


async def test_no_route_takes_a_parameter_that_it_does_not_declare_and_none_repeats_its_name(tmp_path: Path):
    async with service(tmp_path, models()) as client:
        for method, path, operation in await operations(client):
            answer = await client.request(method, filled(path, operation), params={"SECRETKEY": "x"})
            assert answer.status_code == 422, f"{method} {path}"
            assert any(text in answer.text for text in NOT_KNOWN), f"{method} {path}: {answer.text}"
            assert "SECRETKEY" not in answer.text, f"{method} {path}"


async def test_events_come_in_one_order_and_say_so(tmp_path: Path):
    async with service(tmp_path, models()) as client:
        job = (await client.post("/v1/jobs", json={"recipe": RECIPE})).json()
        answers = [
            await client.get(f"/v1/jobs/{job['id']}/{each}?order=desc") for each in ("events", "metrics", "checkpoints")
        ]
    assert [answer.status_code for answer in answers] == [422, 422, 422]


@pytest.mark.parametrize("kind", DATABASES)
async def test_a_nul_in_a_path_or_a_query_is_refused_by_every_route(kind: str, tmp_path: Path):
    database_in(tmp_path, kind)
    async with service(tmp_path, models()) as client:
        for method, path, operation in await operations(client):
            for name in parameters(operation, "path"):
                answer = await client.request(method, filled(path, operation, **{name: "a%00b"}))
                assert answer.status_code == 422, f"{method} {path}: {name}"
            for name in parameters(operation, "query"):
                for value in ("\0", "a=\0", "\0@1.0.0"):
                    answer = await client.request(method, filled(path, operation), params={name: value})
                    assert answer.status_code == 422, f"{method} {path}?{name}"
        answer = await client.get("/v1/preferences", params={"metadata[a\0]": "b"})
        assert answer.status_code == 422


@pytest.mark.parametrize("kind", DATABASES)
async def test_no_text_of_a_body_brings_a_route_down(kind: str, tmp_path: Path):
    database_in(tmp_path, kind)
    async with service(tmp_path, models(), "egress.allow_private=true") as client:
        for method, path, operation in await operations(client):
            example = reference.examples()[operation["operationId"]]["request"]
            if not isinstance(example, dict) or path == "/v1/files":
                continue
            for bad in ("\0", HALF):
                for body in spoilt(example, bad):
                    answer = await client.request(
                        method, filled(path, operation), content=json.dumps(body), headers=JSON
                    )
                    assert answer.status_code < 500, f"{method} {path} {body}: {answer.text}"


@pytest.mark.parametrize("kind", DATABASES)
async def test_a_name_or_metadata_with_a_nul_is_refused_where_it_would_be_searched_for(kind: str, tmp_path: Path):
    database_in(tmp_path, kind)
    async with service(tmp_path, models()) as client:
        key = await client.post("/v1/keys", json={"name": "a\0b", "scopes": ["read"]})
        jobs = [
            await client.post("/v1/jobs", json={"recipe": RECIPE, "metadata": metadata})
            for metadata in ({"a": "b\0"}, {"a\0": "b"}, {"a": "b"})
        ]
        listed = await client.get("/v1/jobs?metadata=a=b")
    assert (key.status_code, key.json()["field"]) == (422, "name")
    assert [answer.status_code for answer in jobs] == [422, 422, 202]
    assert [job["id"] for job in listed.json()["data"]] == [jobs[2].json()["id"]]


HALVES: list[tuple[dict[str, Any], str]] = [
    ({"prompt": HALF}, "prompt"),
    ({"messages": [{"role": "user", "content": HALF}], "prompt": None}, "messages.0.content"),
    ({"response_a": f"a{HALF}"}, "response_a"),
    ({"response_a": None, "response_b": None, "completions": ["a", HALF]}, "completions"),
    ({"models": [HALF, None]}, "models"),
    ({"metadata": {"a": [{"b": HALF}]}}, "metadata"),
    ({"metadata": {HALF: 1}}, "metadata"),
]


async def test_half_a_character_is_refused_where_it_stands(tmp_path: Path):
    async with service(tmp_path, models()) as client:
        for path in ("preferences", "preferences/batches", "critiques", "rewards", "audits"):
            for row, field in HALVES:
                given = {name: value for name, value in (ROW | row).items() if value is not None}
                body = {"constitution": "civic", "judge": "starter-judge", "prompts": [given]}
                answer = await client.post(f"/v1/{path}", content=json.dumps(body), headers=JSON)
                assert (answer.status_code, answer.json()["field"]) == (422, f"prompts.0.{field}"), answer.text
                assert "half of a character" in answer.text


async def test_half_a_character_in_stored_pairs_is_refused_and_whole_ones_beyond_ascii_are_not(tmp_path: Path):
    async with service(tmp_path, models()) as client:
        body = {"constitution": "civic", "judge": "starter-judge", "prompts": [ROW | {"prompt": "¿Qué? 🙂"}]}
        (pair,) = (await client.post("/v1/preferences", json=body)).json()["data"]
        whole, half = ({"constitution": "civic", "pairs": [pair | {"extra": {"a": each}}]} for each in ("🙂", HALF))
        path = "/v1/preferences/reweight"
        assert (await client.post(path, json=whole)).status_code == 200
        answer = await client.post(path, content=json.dumps(half), headers=JSON)
    assert (answer.status_code, answer.json()["field"]) == (422, "pairs")


async def test_a_page_of_another_origin_changes_nothing_without_a_key(tmp_path: Path):
    foreign = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    )
    own = ({}, {"Origin": "http://127.0.0.1"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"})
    form: dict[str, Any] = {"data": {"purpose": "user_data"}, "files": {"file": ("x", b"x")}}
    async with service(tmp_path, models()) as client:
        job = (await client.post("/v1/jobs", json={"recipe": RECIPE})).json()
        for headers in foreign:
            answers = [
                await client.post("/v1/files", headers=headers, **form),
                await client.post(f"/v1/jobs/{job['id']}/cancel", headers=headers),
                await client.delete("/v1/files/file_" + "0" * 26, headers=headers),
            ]
            assert {answer.status_code for answer in answers} == {403}, headers
            assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
            assert (await client.get("/v1/jobs", headers=headers)).status_code == 200
        assert (await client.get("/v1/files")).json()["data"] == []
        assert (await client.get(f"/v1/jobs/{job['id']}")).json()["status"] == "queued"
        for headers in own:
            assert (await client.post("/v1/files", headers=headers, **form)).status_code == 200
        made = await client.post("/v1/keys", json={"name": "page", "scopes": ["label"]})
        key = {"Authorization": f"Bearer {made.json()['key']}"}
        for headers in foreign:
            assert (await client.post("/v1/files", headers=headers | key, **form)).status_code == 200
            assert (await client.post("/v1/files", headers=headers, **form)).status_code == 401

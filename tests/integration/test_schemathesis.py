"""What schemathesis makes of the OpenAPI document: no request brings the server down, and every answer is as described.

TEST_SCHEMATHESIS=10 pytest tests/integration/test_schemathesis.py    ten times the examples
"""

import asyncio
import os
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.callers import ALL_SCOPES
from tests.integration.examples import CONSTITUTION, KIND, RECIPE, ROW, models
from tests.integration.service import settings_in
from tests.integration.test_rest_models import MODEL, trained

EXAMPLES = int(os.environ.get("TEST_SCHEMATHESIS", "1"))
ENDLESS = {"/v1/jobs/{job_id}/events/stream"}
"""Streams end with their jobs; a check of the body would wait for that."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 10,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service keeps everything."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def client(folder: Path) -> Generator[httpx2.Client]:
    """A client of a service in a thread of this process."""
    app = create_app(settings_in(folder), models=models())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.05)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx2.Client(base_url=url, trust_env=False, timeout=60) as made:
            yield made
        server.should_exit = True
        thread.join(20)


def furnish(client: httpx2.Client, folder: Path) -> dict[str, str]:
    """Something to be found, by the beginning of the paths under which it is."""
    headers = {"Content-Type": "application/yaml", "If-None-Match": "*"}
    draft = "/v1/constitutions/kindness/drafts/first"
    saved = client.put(draft, content=CONSTITUTION, headers=headers).json()
    client.post(f"{draft}/publish", json={"message": "First"}, headers={"If-Match": f'"{saved["etag"]}"'})
    client.put(draft, content=CONSTITUTION.replace("1.0.0", "1.1.0"), headers=headers)
    (pair,) = client.post("/v1/preferences", json=KIND | {"prompts": [ROW]}).json()["data"]
    client.post(f"/v1/preferences/{pair['id']}/reviews", json={"verdict": "a"})
    job = client.post("/v1/jobs", json={"recipe": RECIPE}).json()
    audit = client.post("/v1/audits", json=KIND | {"attacks": False}).json()
    client.post("/v1/projects", json={"id": "kitchen"})
    trained(folder, {"value": 0.7, "low": 0.6, "high": 0.8, "n": 40})
    made = {
        "/v1/constitutions/": "kindness",
        "/v1/preferences/": pair["id"],
        "/v1/datasets/": client.post("/v1/datasets", json={"name": "All"}).json()["id"],
        "/v1/jobs/": job["id"],
        "/v1/audits/": audit["id"],
        "/v1/models/": MODEL,
        "/v1/projects/": "kitchen",
    }
    key = client.post("/v1/keys", json={"name": "test", "scopes": sorted(ALL_SCOPES)}).json()
    client.headers["Authorization"] = f"Bearer {key['key']}"
    other = client.post("/v1/keys", json={"name": "other", "scopes": ["read"]}).json()
    return made | {"/v1/keys/": other["id"]}


@pytest.fixture(scope="module")
def described(client: httpx2.Client, folder: Path) -> Any:
    """The document as schemathesis reads it, in which half of all ids are those of things that are there."""
    made = furnish(client, folder)
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        known = next((each for start, each in made.items() if path.startswith(start)), None)
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    there = {"draft": "first", "label": "production"}.get(parameter["name"], known)
                    parameter["schema"] = {"anyOf": [{"const": there}, parameter["schema"]]}
                    parameter.pop("example", None)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=str(client.base_url), headers=dict(client.headers), request_timeout=120)
    return schema.exclude(path=sorted(ENDLESS))


@pytest.mark.slow
@pytest.mark.long
def test_no_request_brings_the_server_down_and_every_answer_is_as_described(described: Any):
    failures: list[str] = []
    for found in described.get_all_operations():
        operation = found.ok()
        name = f"{operation.method.upper()} {operation.path}"
        try:
            _try(operation)
        except Exception as error:  # noqa: BLE001 - all operations are tried before any fails the test
            failures.append(f"{name}: {type(error).__name__}: {error}\n{getattr(error, '__notes__', '')}")
    assert not failures, "\n\n".join(failures)


def _try(operation: Any) -> None:
    """Requests as the document allows them, and others, which must be refused."""
    for mode, checks in (
        (GenerationMode.POSITIVE, CHECKS),
        (GenerationMode.NEGATIVE, [*CHECKS, negative_data_rejection]),
    ):
        try:
            _checked(operation.as_strategy(generation_mode=mode), checks, 2 if mode is GenerationMode.POSITIVE else 1)
        except Unsatisfiable:
            continue  # nothing that could be wrong


def _checked(strategy: Any, checks: list[Any], times: int) -> None:
    @settings(QUICK, max_examples=times * EXAMPLES)
    @given(case=strategy)
    def check(case: Any) -> None:
        case.call_and_validate(checks=checks)

    check()


@pytest.mark.slow
@pytest.mark.long
def test_chains_of_requests_bring_nothing_down_either(described: Any):
    class Chains(described.as_state_machine()):
        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Chains.run(settings=settings(QUICK, max_examples=max(3, EXAMPLES), stateful_step_count=6))

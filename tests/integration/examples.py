"""A tour of every route of the service, from which the examples in the OpenAPI document are recorded."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from api.reference import METHODS
from solon.fakes import Call, ScriptedChat, echo_policy, scoring_judge, text_reply
from tests.integration.service import FakeModels

CONSTITUTION = """\
format: constitution/v1
id: kindness
title: Kindness
version: 1.0.0
status: draft
licence: CC0-1.0
language: en
summary: A small text for examples.
scopes: {general: {description: Any request.}}
principles:
  - id: kind
    title: Be kind
    scopes: [general]
    weight: 1.0
    text: Be kind to the person who asks.
    compare: Which response is kinder?
    critique: Say where the response is unkind.
    revise: Make it kind and keep what it says.
propositions:
  - {id: wordy, kind: measure, measure: words, op: ">", value: 60}
rules:
  - {id: too_wordy, when: wordy, reward: -1.0}
combine: {method: weighted_mean, rule_reward_weight: 0.3, tie_margin: 0.1}
cases:
  - {id: greeting, prompt: "Hello?", better: "Hello! How can I help?", worse: "What now?", because: [kind]}
"""
ROW = {"prompt": "How do I bake bread?", "response_a": "Gladly: mix, wait, bake.", "response_b": "Look it up."}
HOOK = "https://example.org/solon"
"""Its name is looked up: see `found_nowhere`."""
KIND = {"constitution": "kindness", "judge": "starter-judge"}
CIVIC = {"constitution": "civic", "judge": "starter-judge"}
"""Of requests that need nothing made before: every service has both."""
RECIPE = CIVIC | {"name": "kind", "steps": [{"type": "label"}, {"type": "dpo", "epochs": 1}, {"type": "evaluate"}]}


async def found_nowhere(host: str, port: int) -> list[str]:
    """Every name means a private address at which nobody is, in place of `solon.egress.resolved`."""
    return ["10.9.8.7"]


def models() -> FakeModels:
    """Scripted models that write and judge as the tour needs."""

    def write(call: Call) -> Any:
        return text_reply("Gladly: mix, wait, bake." if (call.seed or 0) % 2 else "Look it up.")

    judge = scoring_judge(lambda text, _: float(text.startswith(("Gladly", "Hello!"))), name="starter-judge")
    policy = ScriptedChat("starter", write)
    return FakeModels(starter=policy, starter_judge=judge, aligned=echo_policy())


class Recorder:
    """A client that keeps the first good answer of every operation."""

    def __init__(self, client: httpx2.AsyncClient, document: dict[str, Any]) -> None:
        self.client = client
        self.found: dict[str, dict[str, Any]] = {}
        self._operations = [
            (method.upper(), re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), path.count("{"), operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if method in METHODS
        ]

    async def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The answer, as JSON where it is JSON; anything but 2xx ends the tour."""
        if body is not None and not isinstance(body, str | bytes):
            options["json"] = body
        elif body is not None:
            options["content"] = body
        answer = await self.client.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        kind = answer.headers.get("content-type", "").partition(";")[0] if answer.content else ""
        value = (
            answer.json()
            if kind in ("application/json", "application/problem+json")
            else answer.text
            if kind.startswith("text")
            else None
        )
        self._keep(method, path.partition("?")[0], body, answer, kind, value)
        return value

    def _keep(self, method: str, path: str, body: Any, answer: httpx2.Response, kind: str, value: Any) -> None:
        matching = [
            (parameters, match.groupdict(), operation)
            for wanted, pattern, parameters, operation in self._operations
            if wanted == method and (match := pattern.fullmatch(path))
        ]
        _, names, operation = min(matching, key=lambda each: each[0])
        shown = _shortened(value) if value is not None else answer.text[:400] if kind != "" else None
        if kind == "application/vnd.apache.parquet":
            shown = None
        example = {"path": names, "request": body, "status": str(answer.status_code), "type": kind, "response": shown}
        self.found.setdefault(operation["operationId"], example)


def _shortened(value: Any) -> Any:
    """A list with its first item; a text with its beginning."""
    if isinstance(value, str):
        return value[:600]
    if isinstance(value, Mapping) and value.get("object") == "list" and len(value["data"]) > 1:
        return {**value, "data": value["data"][:1], "last_id": value["first_id"], "has_more": True}
    return value


async def tour(record: Recorder, folder: Path, project: str = "default") -> None:
    """Every route once, in an order that makes sense."""
    for path in ("/livez", "/readyz", "/health", "/metrics"):
        await record("GET", path)
    await _constitutions(record)
    pair = await _preferences(record)
    await _datasets(record)
    await _files(record)
    await record("POST", "/v1/critiques", CIVIC | {"policy": "starter", "rounds": 1, "prompts": [ROW]})
    await record("POST", "/v1/rewards", {"constitution": "civic", "prompts": [ROW]})
    audit = await record("POST", "/v1/audits", CIVIC | {"attacks": False, "prompts": [ROW | {"votes": ["a"]}]})
    await record("GET", "/v1/audits")
    while (await record("GET", f"/v1/audits/{audit['id']}"))["status"] == "running":
        record.found.pop("get_audit")
        await asyncio.sleep(0.05)
    await _jobs(record)
    await _models(record, folder, project)
    await _webhooks(record)
    await _access(record)
    assert pair["id"]


async def _webhooks(record: Recorder) -> None:
    made = await record("POST", "/v1/webhooks", {"url": HOOK, "events": ["job.succeeded", "job.failed"]})
    path = f"/v1/webhooks/{made['id']}"
    for each in ("/v1/webhooks", path):
        await record("GET", each)
    await record("PATCH", path, {"description": "The kitchen's board"})
    await record("POST", f"{path}/test")
    await record("GET", f"{path}/deliveries")
    await record("POST", f"{path}/rotate", {"keep_s": 3600.0})
    for name in ("create_webhook", "rotate_webhook_secret"):
        record.found[name]["response"]["secret"] = "whsec_" + "0" * 43 + "="
    await record("DELETE", path)


async def _access(record: Recorder) -> None:
    """Last, since with the first key nobody gets in without one."""
    await record("POST", "/v1/projects", {"id": "kitchen"})
    await record("GET", "/v1/projects")
    await record("GET", "/v1/projects/kitchen")
    await record("PUT", "/v1/projects/kitchen/quota", {"quota": {"requests_per_minute": 600}})
    await record("GET", "/v1/projects/kitchen/usage")
    await record("GET", "/v1/usage")
    scopes = ["read", "label", "admin", "operator"]
    made = await record("POST", "/v1/keys", {"name": "Ada's laptop", "scopes": scopes})
    record.client.headers["Authorization"] = f"Bearer {made['key']}"
    record.found["create_key"]["response"]["key"] = "sk-solon-" + "0" * 43
    await record("GET", "/v1/keys")
    await record("GET", f"/v1/keys/{made['id']}")
    await record("GET", "/v1/changes")
    await record("DELETE", f"/v1/keys/{made['id']}")


async def _constitutions(record: Recorder) -> None:
    yaml = {"Content-Type": "application/yaml", "If-None-Match": "*"}
    draft = "/v1/constitutions/kindness/drafts/first"
    saved = await record("PUT", draft, CONSTITUTION, headers=yaml)
    match = {"If-Match": f'"{saved["etag"]}"'}
    patched = await record(
        "PATCH",
        draft,
        {"title": "Kindness first"},
        headers=match | {"Content-Type": "application/merge-patch+json"},
    )
    await record("GET", draft)
    await record("GET", "/v1/constitutions/kindness/drafts")
    await record("POST", f"{draft}/validate")
    await record("POST", f"{draft}/test", {"judge": "starter-judge"})
    publish = {"message": "The first version", "author": "Ada Example <ada@example.org>"}
    await record("POST", f"{draft}/publish", publish, headers={"If-Match": f'"{patched["etag"]}"'})
    second = CONSTITUTION.replace("1.0.0", "1.1.0").replace("Be kind to", "Be kind and honest to")
    await record("PUT", draft, second, headers=yaml)
    for name in ("civic", "kindness"):  # the first one is shown
        await record("POST", f"/v1/constitutions/{name}/test", {"judge": "starter-judge"})
        await record("GET", f"/v1/constitutions/{name}")
        await record("GET", f"/v1/constitutions/{name}/versions")
    await record("GET", "/v1/constitutions")
    label = {"version": "1.0.0", "author": "Ada Example <ada@example.org>", "message": "Ready"}
    await record("PUT", "/v1/constitutions/kindness/labels/production", label, headers={"If-None-Match": "*"})
    await record("GET", "/v1/constitutions/kindness/labels")
    await record("GET", "/v1/constitutions/kindness/history")
    await record("GET", "/v1/constitutions/kindness/diff?from=1.0.0&to=draft:first")


async def _files(record: Recorder) -> None:
    form = {"data": {"purpose": "prompts"}, "files": {"file": ("prompts.jsonl", json.dumps(ROW) + "\n")}}
    made = await record("POST", "/v1/files", **form)
    record.found["upload_file"]["request"] = {"file": json.dumps(ROW), "purpose": "prompts"}
    await record("GET", "/v1/files")
    await record("GET", f"/v1/files/{made['id']}")
    await record("GET", f"/v1/files/{made['id']}/content")
    await record("DELETE", f"/v1/files/{made['id']}")


async def _preferences(record: Recorder) -> Any:
    rows = [ROW | {"id": "bread", "metadata": {"team": "kitchen"}}, {"prompt": "Hello?", "completions": ["Hi.", "Hi."]}]
    (pair, _) = sorted(
        (await record("POST", "/v1/preferences", CIVIC | {"prompts": rows}))["data"], key=lambda each: "id" not in each
    )
    path = f"/v1/preferences/{pair['id']}"
    await record(
        "POST", f"{path}/reviews", {"verdict": pair["chosen"], "reviewer": "Ada Example", "comment": "Kinder."}
    )
    await record("POST", f"{path}/reviews", {"verdict": "tie", "reviewer": "Bob Example"})
    for each in (path, f"{path}/reviews", "/v1/preferences", "/v1/preferences/discards", "/v1/preferences/agreement"):
        await record("GET", each)
    await record("POST", "/v1/preferences/batches", CIVIC | {"prompts": rows[:1]})
    weights = {"constitution": "civic", "weights": {"concise": 2.0}}
    await record("POST", "/v1/preferences/reweight", weights | {"pairs": [pair]})
    await record("POST", "/v1/preferences/relabel", KIND | {"ids": [pair["id"]]})
    kinder = await record.client.post("/v1/preferences", json=KIND | {"prompts": rows[:1], "store": False})
    preview = {"pairs": kinder.json()["data"], "judge": "starter-judge", "control": 0, "cases": False}
    draft = "/v1/constitutions/kindness/drafts/first"
    await record("POST", f"{draft}/preview", preview)
    etag = json.loads((await record.client.get(draft)).text)["etag"]
    await record("DELETE", draft, headers={"If-Match": f'"{etag}"'})
    return pair


async def _datasets(record: Recorder) -> None:
    made = await record(
        "POST", "/v1/datasets", {"name": "Kind answers", "filter": {"status": ["ok"]}, "licence": "MIT"}
    )
    path = f"/v1/datasets/{made['id']}"
    for each in ("/v1/datasets", path, f"{path}/pairs", f"{path}/card", f"{path}/export"):
        await record("GET", each)
    await record("POST", f"{path}/store")


async def _jobs(record: Recorder) -> None:
    job = await record("POST", "/v1/jobs", {"recipe": RECIPE, "metadata": {"team": "red"}})
    path = f"/v1/jobs/{job['id']}"
    while (await record("GET", path))["status"] in ("queued", "running"):
        record.found.pop("get_job")
        await asyncio.sleep(0.05)
    alias = "/v1/fine_tuning/jobs"
    for each in (
        "/v1/jobs",
        alias,
        f"{alias}/{job['id']}",
        *(f"{path}/{what}" for what in ("events", "events/stream", "metrics", "checkpoints")),
    ):
        await record("GET", each)
    other = await record("POST", "/v1/jobs", {"recipe": RECIPE})
    for wish in ("pause", "cancel"):
        await record("POST", f"/v1/jobs/{other['id']}/{wish}")
    failed = await record("POST", "/v1/jobs", {"recipe": RECIPE | {"name": "fails"}})
    while (await record("GET", f"/v1/jobs/{failed['id']}"))["status"] in ("queued", "running"):
        await asyncio.sleep(0.05)
    await record("POST", f"/v1/jobs/{failed['id']}/resume")


async def _models(record: Recorder, folder: Path, project: str) -> None:
    from tests.integration.test_rest_models import MODEL, trained

    trained(folder, {"value": 0.72, "low": 0.61, "high": 0.81, "n": 64}, project=project)
    await record("GET", "/v1/models")
    await record("GET", f"/v1/models/{MODEL}")
    await record("POST", f"/v1/models/{MODEL}/promote", {"name": "kind-policy", "reason": "kinder, and as helpful"})

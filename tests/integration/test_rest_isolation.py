"""Two projects: on a tour of every route, one of them finds nothing of the other, whatever it asks and however.

Before the first project asks anything, the second asks the very same with a key of its own that may do everything but
run the service. What it gets must be what it gets for ids and names that never were, or hold nothing of the first
project. That nothing was changed shows the tour, which goes on.
"""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.callers import ALL_SCOPES, OPEN_PATHS, KeyScope
from solon import egress
from tests.integration.examples import Recorder, found_nowhere, models, tour
from tests.integration.service import SCRIPTED, service, settings_in, working
from tests.integration.test_openapi import document
from tests.integration.test_rest_access import bearer

ID = re.compile(r"\b[a-z]+_[0-9a-hjkmnp-tv-z]{26}\b")
NAMES = {"kindness": "absentia", "first": "never", "production": "nowhere"}
"""What the tour calls its constitution, draft and label, and names that nobody uses."""
SHARED = frozenset({"/v1/projects"})
"""For operators only."""


class Crossing(Recorder):
    """Lets another project ask first."""

    def __init__(self, client: httpx2.AsyncClient, described: dict[str, Any], other: dict[str, str]) -> None:
        super().__init__(client, described)
        self.other = other
        self.theirs: set[str] = set()
        """Ids of all that the first project has."""
        self.not_found: list[str] = []
        """What the other project asked for in vain."""

    async def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The first project's answer."""
        if path not in OPEN_PATHS and path != "/metrics":
            await self._cross(method, path, body, options)
        answer = await super().__call__(method, path, body, **options)
        self.theirs |= set(ID.findall(json.dumps(answer)))
        return answer

    async def _cross(self, method: str, path: str, body: Any, options: dict[str, Any]) -> None:
        where = f"{method} {path}"
        real = await self._ask(method, path, body, options)
        own = set(ID.findall(f"{path} {body}"))
        assert not (set(ID.findall(real.text)) - own) & self.theirs, f"{where} shows ids of another project"
        names_something = any(each in path for each in (*own, "/kindness"))
        if names_something and not any(path.startswith(each) for each in SHARED):
            absent = await self._ask(method, _absent(path), _absent(body), options)
            assert (real.status_code, _plain(real)) == (absent.status_code, _plain(absent)), where
            nothing = real.status_code in (404, 412) or real.json().get("data") == []
            assert nothing, f"{where}: {real.status_code} {real.text}"
            self.not_found.append(where)

    async def _ask(self, method: str, path: str, body: Any, options: dict[str, Any]) -> httpx2.Response:
        headers = dict(options.get("headers", {})) | self.other
        if "If-None-Match" in headers:  # it would make one of its own of that name
            headers["If-Match"] = f'"{headers.pop("If-None-Match")}"'
        sent = {name: value for name, value in options.items() if name != "headers"}
        if path == "/v1/preferences" and method == "POST":  # an id says what is in it: it would have the same one
            body = body | {"store": False}
        if body is not None:
            sent["content" if isinstance(body, str | bytes) else "json"] = body
        return await self.client.request(method, path, headers=headers, **sent)


def _absent(value: Any) -> Any:
    """The same with ids and names that never were."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = ID.sub(lambda found: found[0].partition("_")[0] + "_" + "0" * 26, text)
    for name, other in NAMES.items():
        text = re.sub(rf"\b{name}\b", other, text)
    return text if isinstance(value, str) else json.loads(text)


def _plain(answer: httpx2.Response) -> Any:
    """The answer without what is of this one request."""
    body = answer.json()
    body.pop("request_id", None)
    return body


@pytest.mark.slow
async def test_no_route_shows_or_changes_what_another_project_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    described = document(tmp_path)
    monkeypatch.setattr(egress, "resolved", found_nowhere)
    quick = (SCRIPTED, "jobs.poll_s=0.05", "egress.allow_private=true")
    with working(settings_in(tmp_path, *quick)):
        async with service(tmp_path, models(), *quick) as client:
            keys: dict[str, dict[str, str]] = {}
            for project in ("acme", "rival"):
                await client.post("/v1/projects", json={"id": project}, headers=keys.get("operator", {}))
                if not keys:
                    first = await client.post("/v1/keys", json={"name": "operator", "scopes": sorted(ALL_SCOPES)})
                    keys["operator"] = bearer(first.json()["key"])
            for project, scopes in (("acme", ALL_SCOPES), ("rival", ALL_SCOPES - {KeyScope.OPERATOR})):
                body = {"name": project, "scopes": sorted(scopes), "project": project}
                made = await client.post("/v1/keys", json=body, headers=keys["operator"])
                keys[project] = bearer(made.json()["key"])
            client.headers.update(keys["acme"])
            crossing = Crossing(client, described, keys["rival"])
            await tour(crossing, tmp_path, "acme")
    covered = {operation["operationId"] for methods in described["paths"].values() for operation in methods.values()}
    assert set(crossing.found) == covered, "the tour of tests/integration/examples.py misses a route"
    assert len(crossing.not_found) > 40

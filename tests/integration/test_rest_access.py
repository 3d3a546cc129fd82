"""Keys, scopes, projects, quotas and the change log over ASGI."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from sqlalchemy import create_engine, event

from api import callers
from api.callers import OPEN_PATHS, Authentication, Gatekeeper, KeyScope, require_scopes
from api.store.keys import Key, KeyStore
from solon.errors import StorageUnavailable
from solon.fakes import keyword_judge
from tests.integration.service import FakeModels, service

WORDS = {"id", "draft", "label", "job_id", "audit_id"}
METHODS = ("get", "put", "post", "patch", "delete")


@dataclass(frozen=True)
class Tenants:
    """A service with keys, and how to ask it."""

    client: httpx2.AsyncClient
    operator: dict[str, str]
    """Headers with a key that has every scope, of the project `default`."""

    async def key(self, *scopes: str, project: str | None = None) -> dict[str, str]:
        """Headers with a new key."""
        body = {"name": "somebody", "scopes": list(scopes)} | ({"project": project} if project else {})
        made = await self.client.post("/v1/keys", json=body, headers=self.operator)
        assert made.status_code == 201, made.text
        return bearer(made.json()["key"])

    async def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Method, path and description of every route."""
        document = (await self.client.get("/openapi.json", headers=self.operator)).json()
        paths: dict[str, dict[str, Any]] = document["paths"]
        return [(method, path, route[method]) for path, route in paths.items() for method in METHODS if method in route]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def tenants(folder: Path, *overrides: str) -> AsyncGenerator[Tenants]:
    """A service whose first key is made as anybody on its machine can."""
    async with service(folder, None, "", *overrides) as client:
        made = await client.post("/v1/keys", json={"name": "operator", "scopes": sorted(KeyScope)})
        assert made.status_code == 201, made.text
        yield Tenants(client, bearer(made.json()["key"]))


def filled(path: str) -> str:
    """The path with something in the place of every parameter."""
    for word in WORDS:
        path = path.replace(f"{{{word}}}", "x")
    return path


@pytest.mark.parametrize("with_key", [True, False])
async def test_a_scrape_says_that_the_database_is_away_and_the_rest_is_503(with_key: bool, tmp_path: Path):
    def fail(*_: object) -> None:
        raise StorageUnavailable("the database cannot be reached", remedy="see that it runs")

    async with service(tmp_path, None) as client:
        key = {}
        if with_key:
            key = bearer((await client.post("/v1/keys", json={"name": "o", "scopes": sorted(KeyScope)})).json()["key"])
        assert "\nsolon_database_up 1.0" in (await client.get("/metrics", headers=key)).text
        app: Any = client._transport.app  # type: ignore[attr-defined]
        event.listen(app.state.services.database, "before_cursor_execute", fail)
        scrape = await client.get("/metrics", headers=key)
        listed = await client.get("/v1/jobs", headers=key)
        event.remove(app.state.services.database, "before_cursor_execute", fail)

    assert (scrape.status_code, listed.status_code, listed.headers["Retry-After"]) == (200, 503, "5")
    assert "\nsolon_database_up 0.0" in scrape.text
    assert "solon_jobs" not in scrape.text


async def test_without_keys_this_machine_may_do_everything(tmp_path: Path):
    async with service(tmp_path) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        assert (await client.get("/v1/projects")).json()["data"] == []


async def test_without_keys_other_machines_may_do_nothing(tmp_path: Path):
    async with service(tmp_path) as client:
        app = client._transport.app  # type: ignore[attr-defined]
        elsewhere = httpx2.ASGITransport(app=app, client=("192.0.2.7", 1))
        async with httpx2.AsyncClient(transport=elsewhere, base_url="http://127.0.0.1") as other:
            assert (await other.get("/v1/jobs")).status_code == 401
            assert (await other.get("/v1/jobs", headers=bearer("any"))).status_code == 401
            assert (await other.get("/livez")).status_code == 200


async def test_with_a_key_every_route_but_the_probes_needs_one(tmp_path: Path):
    async with tenants(tmp_path) as service_:
        for method, path, _ in await service_.operations():
            answer = await service_.client.request(method, filled(path))
            if path in OPEN_PATHS:
                assert answer.status_code in (200, 503), path
                continue
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="solon"'
            assert answer.headers["content-type"] == "application/problem+json"
        for path in ("/openapi.json", "/docs", "/nothing/here"):
            assert (await service_.client.get(path)).status_code == 401, path


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer sk-solon-wrong", "bearer x y", "Bearer " + "x" * 5000]
)
async def test_what_is_no_valid_key_is_refused_and_not_repeated(header: str, tmp_path: Path):
    async with tenants(tmp_path) as service_:
        answer = await service_.client.get("/v1/jobs", headers={"Authorization": header})
        assert answer.status_code == 401
        assert "wrong" not in answer.text


async def test_a_revoked_key_is_refused_by_the_next_request(tmp_path: Path):
    async with tenants(tmp_path) as service_:
        key = await service_.key("read", "admin")
        assert (await service_.client.get("/v1/jobs", headers=key)).status_code == 200
        listed = (await service_.client.get("/v1/keys", headers=key)).json()["data"]
        gone = await service_.client.delete(f"/v1/keys/{listed[0]['id']}", headers=service_.operator)
        assert gone.json()["revoked_at"] is not None
        assert (await service_.client.get("/v1/jobs", headers=key)).status_code == 401


async def test_an_open_stream_ends_soon_after_its_key_is_revoked(monkeypatch: pytest.MonkeyPatch):
    """Over bare ASGI, since the test client only gives an answer out when it is whole."""
    monkeypatch.setattr(callers, "RECHECK_S", 0.02)
    valid, sent, ended = [True], list[Any](), list[str]()

    class Keys(KeyStore):
        def any_key(self) -> bool:
            return True

        def valid(self, key: str, now: float | None = None) -> Key | None:
            known = {"id": "key_1", "project": "default", "name": "n", "hint": "", "scopes": (), "created_at": 0.0}
            return Key.model_validate(known) if valid[0] else None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(start)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
                await asyncio.sleep(0.01)
                valid[0] = len(sent) < 5
        finally:
            ended.append("cancelled")

    async def keep(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/x", "headers": [(b"authorization", b"Bearer k")], "client": ("192.0.2.1", 1)}
    database = create_engine("sqlite://")
    async with asyncio.timeout(20):
        await Authentication(app, Gatekeeper(Keys(database)))(scope, asyncio.Event().wait, keep)  # pyright: ignore
    assert ended == ["cancelled"]
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_every_route_names_one_scope_and_refuses_keys_that_have_all_others(tmp_path: Path):
    async with tenants(tmp_path) as service_:
        lacking = {scope: await service_.key(*(set(KeyScope) - {scope})) for scope in KeyScope}
        for method, path, route in await service_.operations():
            if path in OPEN_PATHS:
                continue
            scopes = {scope for entry in route["security"] for each in entry.values() for scope in each}
            assert len(scopes) == 1, f"{method} {path} names {scopes}"
            (scope,) = scopes
            answer = await service_.client.request(method, filled(path), headers=lacking[KeyScope(scope)])
            assert answer.status_code == 403, f"{method} {path} with all but {scope}: {answer.text}"
            assert scope in answer.json()["detail"]


async def test_a_key_gives_no_scope_that_it_lacks_and_no_other_project(tmp_path: Path):
    async with tenants(tmp_path) as service_:
        await service_.client.post("/v1/projects", json={"id": "acme"}, headers=service_.operator)
        admin = await service_.key("read", "admin")
        for body, status in (
            ({"scopes": ["read"]}, 201),
            ({"scopes": ["read", "operator"]}, 403),
            ({"scopes": ["train"]}, 403),
            ({"scopes": ["read"], "project": "acme"}, 403),
            ({"scopes": []}, 422),
            ({"scopes": ["everything"]}, 422),
            ({"scopes": ["read"], "expires_at": time.time() - 1}, 422),
        ):
            answer = await service_.client.post("/v1/keys", json={"name": "n"} | body, headers=admin)
            assert answer.status_code == status, (body, answer.text)
        other = await service_.client.get("/v1/keys", params={"project": "acme"}, headers=admin)
        assert other.status_code == 403


async def test_a_key_is_shown_once_and_listed_without_itself(tmp_path: Path):
    async with tenants(tmp_path) as service_:
        body = {"name": "ada", "scopes": ["read"]}
        made = await service_.client.post("/v1/keys", json=body, headers=service_.operator)
        assert made.headers["Cache-Control"] == "no-store"
        key = made.json()["key"]
        everything = [
            (await service_.client.get(path, headers=service_.operator)).text
            for path in ("/v1/keys", made.headers["Location"], "/v1/changes", "/v1/projects")
        ]
        assert not any(key in text or key[9:] in text for text in everything)


async def test_requests_beyond_the_quota_wait_for_the_next_minute(tmp_path: Path):
    async with tenants(tmp_path) as service_:
        quota = {"id": "acme", "quota": {"requests_per_minute": 3}}
        await service_.client.post("/v1/projects", json=quota, headers=service_.operator)
        key = await service_.key("read", project="acme")
        if time.time() % 60 > 50:  # so that the minute does not end in between
            await service_.client.put("/v1/projects/acme/quota", json={"quota": None}, headers=service_.operator)
            pytest.skip("the minute ends soon")
        answers = [await service_.client.get("/v1/jobs", headers=key) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert [answer.headers["RateLimit"].partition(";t=")[0] for answer in answers] == [
            f'"requests";r={left}' for left in (2, 1, 0, 0, 0)
        ]
        assert answers[0].headers["RateLimit-Policy"] == '"requests";q=3;w=60'
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        assert (await service_.client.get("/v1/jobs", headers=service_.operator)).status_code == 200
        usage = (await service_.client.get("/v1/projects/acme/usage", headers=service_.operator)).json()
        assert usage["limits"]["requests_per_minute"]["used"] == 3


async def test_changes_are_logged_with_who_made_them_and_reads_and_refusals_are_not(tmp_path: Path):
    async with tenants(tmp_path) as service_:
        text = "format: constitution/v1\nid: mine\ntitle: Mine\nversion: 1.0.0\nprinciples: [{id: a, text: Be kind.}]\n"
        headers = service_.operator | {"Content-Type": "application/yaml", "If-None-Match": "*", "X-Request-ID": "r-1"}
        put = await service_.client.put("/v1/constitutions/mine/drafts/work", content=text, headers=headers)
        assert put.status_code == 201, put.text
        again = await service_.client.put("/v1/constitutions/mine/drafts/work", content=text, headers=headers)
        assert again.status_code == 412
        await service_.client.get("/v1/constitutions", headers=service_.operator)
        found = (await service_.client.get("/v1/changes", headers=service_.operator)).json()["data"]
        told = [(each["action"], each["target"], each["name"], each["status"]) for each in found]
        assert told[0] == (
            "PUT /v1/constitutions/{id}/drafts/{draft}",
            "/v1/constitutions/mine/drafts/work",
            "operator",
            201,
        )
        assert told[1][:1] + told[1][2:] == ("POST /v1/keys", "local", 201)
        assert told[1][1].startswith("/v1/keys/key_")
        assert len(told) == 2


def test_a_route_without_a_scope_keeps_the_service_from_starting():
    router = APIRouter()

    @router.get("/v1/forgotten")
    def forgotten() -> None: ...

    app = FastAPI()
    app.include_router(router)
    with pytest.raises(RuntimeError, match="/v1/forgotten needs a scope"):
        require_scopes(app)


async def test_usage_has_the_calls_of_a_project_without_limits(tmp_path: Path):
    judge = keyword_judge(["good"], ["away"])
    async with service(tmp_path, FakeModels(starter_judge=judge)) as client:
        pair = {"prompt": "Hello?", "response_a": "good day", "response_b": "go away"}
        body = {"constitution": "civic", "judge": "starter-judge", "prompts": [pair]}
        assert (await client.post("/v1/preferences", json=body)).status_code == 200
        limits = (await client.get("/v1/usage")).json()["limits"]
    assert limits["calls_per_day"]["used"] == limits["calls_per_month"]["used"] == judge.calls > 0
    assert limits["requests_per_minute"]["used"] in (1, 2)  # a minute may begin in between

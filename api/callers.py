"""Who sends a request: a key's holder, or, as long as there is no key at all, anybody on this machine.

    @router.get("/{id}", dependencies=[READ])           every route names the one scope that it needs
    def get_thing(id: str, caller: Caller) -> Thing:
        return store.get(id, project=caller.project)    another project's thing is not found

`Authentication` runs before anything of a request but its head is read; a route's scope is checked after it. A route
without a scope keeps the server from starting (`require_scopes`).
"""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import anyio
from fastapi import Depends, FastAPI, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.gauges import database_away
from api.metrics import CONTENT_TYPE
from api.problems import solon_problem
from api.store.keys import Key, KeyStore
from solon.errors import Forbidden, SolonError, StorageUnavailable, Unauthorized
from solon.settings import DEFAULT_PROJECT


class KeyScope(StrEnum):
    """What a key may do."""

    READ = "read"
    """See what its project has."""
    LABEL = "label"
    """Ask judges and policies: preferences, critiques, rewards, audits, previews; review labels; store files."""
    EDIT = "edit"
    """Change drafts of constitutions."""
    PUBLISH = "publish"
    """Publish drafts and move labels; promote models."""
    TRAIN = "train"
    """Begin jobs, pause, resume and cancel them."""
    ADMIN = "admin"
    """Make and revoke the project's keys, set its webhooks, read its change log."""
    OPERATOR = "operator"
    """Run the service: projects, their limits, keys of any project, metrics."""


ALL_SCOPES: Final = frozenset(KeyScope)
USER_SCOPES: Final = ALL_SCOPES - {KeyScope.ADMIN, KeyScope.OPERATOR}
"""Of a key for somebody who works in a project."""

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/health"})
"""Answered without a key; they tell nothing but whether the server works."""

_KEYLESS_FOR_S: Final = 1.0
RECHECK_S = 5.0
"""How long a stream may go on after its key was revoked."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


@dataclass(frozen=True)
class Identity:
    """Who sends a request."""

    project: str
    key_id: str | None
    """None where no key is needed."""
    scopes: frozenset[str]
    name: str
    """For the change log."""


LOCAL: Final = Identity(DEFAULT_PROJECT, None, ALL_SCOPES, "local")
"""Anybody on this machine, as long as there are no keys."""


class Gatekeeper:
    """Tells who sends a request."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._keyless_until = 0.0

    async def identify(self, headers: Mapping[str, str], client: tuple[str, int] | None) -> Identity:
        """The sender; raises Unauthorized.

        As long as there is no key at all, one that is sent means nothing: OpenAI's clients always send one.
        """
        kind, _, key = headers.get("authorization", "").partition(" ")
        found = await asyncio.to_thread(self._keys.valid, key.strip()) if key and kind.lower() == "bearer" else None
        if found is not None:
            return identity_of(found)
        if await self._keyless():
            if client is not None and _is_loopback(client[0]):
                return LOCAL
            raise Unauthorized("a key is needed from other machines", remedy="make one: solon key create NAME")
        if not key:
            raise Unauthorized("no key was sent", remedy="send Authorization: Bearer sk-solon-...")
        raise Unauthorized("the key is not valid", remedy="it may be expired or revoked; ask for a new one")

    async def _keyless(self) -> bool:
        """Whether no key was ever made; it may take a second to notice another process making the first one."""
        if self._keys.made:
            return False
        if time.monotonic() < self._keyless_until:
            return True
        if await asyncio.to_thread(self._keys.any_key):
            return False
        self._keyless_until = time.monotonic() + _KEYLESS_FOR_S
        return True


def identity_of(key: Key) -> Identity:
    """The holder of a key."""
    return Identity(key.project, key.id, frozenset(key.scopes), key.name)


class Authentication:
    """Middleware that puts the caller's identity into the request's state, or answers 401."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper) -> None:
        self._app = app
        self._gatekeeper = gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its sender is known."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                headers = Headers(scope=scope)
                identity = await self._gatekeeper.identify(headers, scope.get("client"))
                if identity.key_id is None and scope["method"] not in _SAFE and _is_foreign(headers):
                    raise Forbidden(
                        "a web page of another origin may change nothing here without a key",
                        remedy="send the request from a program, or make a key: solon key create NAME",
                    )
            except SolonError as error:
                await _refusal(scope["path"], error)(scope, receive, send)
                return
            scope.setdefault("state", {})["identity"] = identity
            if identity.key_id is not None:
                await self._watched(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer; a stream ends within seconds of its key."""
        watcher: asyncio.Task[None] | None = None
        with anyio.CancelScope() as answering:

            async def watch() -> None:
                while True:
                    await asyncio.sleep(RECHECK_S)
                    try:
                        await self._gatekeeper.identify(Headers(scope=scope), scope.get("client"))
                    except Unauthorized:
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
                        answering.cancel()
                        return

            async def sent(message: Message) -> None:
                nonlocal watcher
                if message["type"] == "http.response.start" and watcher is None and _is_stream(message):
                    watcher = asyncio.create_task(watch(), name="key of a stream")
                await send(message)

            try:
                await self._app(scope, receive, sent)
            finally:
                if watcher is not None:
                    watcher.cancel()


def _refusal(path: str, error: SolonError) -> Response:
    """The error; but a scrape is told that the database is away, which is what its alert goes by."""
    if path == "/metrics" and isinstance(error, StorageUnavailable):
        return Response(database_away(), media_type=CONTENT_TYPE)
    return solon_problem(error)


def _is_stream(message: Message) -> bool:
    return Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")


def identity(request: Request) -> Identity | None:
    """The identity that `Authentication` found; None on a path that is open to all."""
    return getattr(request.state, "identity", None)


_BEARER = HTTPBearer(auto_error=False, scheme_name="key", bearerFormat="sk-solon-...", description="An API key.")


def _caller(request: Request, needed: SecurityScopes, _: Annotated[Any, Security(_BEARER)]) -> Identity:
    found = identity(request)
    if found is None:
        raise Unauthorized("no key was sent", remedy="send Authorization: Bearer sk-solon-...")
    if needed.scopes:
        request.state.needed = frozenset(needed.scopes)
    if missing := sorted(set(needed.scopes) - found.scopes):
        raise Forbidden(f"the key does not have the scope {missing[0]}", remedy="use a key that has it")
    return found


Caller = Annotated[Identity, Depends(_caller)]
"""A route's parameter that gets the caller; it demands no scope of its own."""

READ = Security(_caller, scopes=[KeyScope.READ])
LABEL = Security(_caller, scopes=[KeyScope.LABEL])
EDIT = Security(_caller, scopes=[KeyScope.EDIT])
PUBLISH = Security(_caller, scopes=[KeyScope.PUBLISH])
TRAIN = Security(_caller, scopes=[KeyScope.TRAIN])
ADMIN = Security(_caller, scopes=[KeyScope.ADMIN])
OPERATOR = Security(_caller, scopes=[KeyScope.OPERATOR])


def require_scopes(app: FastAPI) -> None:
    """Raises RuntimeError where a route that is not open to all names no scope."""
    for context in iter_route_contexts(app.routes):
        route = context.route
        if isinstance(route, APIRoute) and context.path not in OPEN_PATHS and not scopes_of(context.dependant):
            raise RuntimeError(f"{context.methods} {context.path} needs a scope: dependencies=[READ], see api.callers")


def scopes_of(dependant: Dependant) -> frozenset[str]:
    """All scopes that a route demands."""
    below = (scopes_of(each) for each in dependant.dependencies)
    return frozenset(dependant.own_oauth_scopes or ()).union(*below)


def _is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another origin sends this; programs send neither header."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

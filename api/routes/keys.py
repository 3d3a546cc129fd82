"""/v1/keys: the API keys of the caller's project; an operator's may be of any project."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from api.callers import ADMIN, Caller, Identity, KeyScope
from api.paging import cut
from api.routes.preferences import Strict
from api.services import Page, Paging, Use
from api.store.keys import Key, KeyRequest, NewKey
from solon.errors import Forbidden, InvalidInput
from solon.settings import ProjectId

router = APIRouter(prefix="/v1/keys", tags=["access"])

Id = Annotated[str, Path(alias="id", pattern=r"^key_[0-9a-z]{26}$")]


class KeyIn(Strict):
    """A key to make."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
    """Whom it is for; shown in the change log."""
    scopes: Annotated[list[Annotated[KeyScope, Field(strict=False)]], Field(min_length=1)]
    """At most those of the caller."""
    project: ProjectId | None = None
    """Null: the caller's. Another one needs the scope `operator`."""
    expires_at: Annotated[float, Field(gt=0)] | None = None
    """Unix time in seconds; null: never."""


class KeyQuery(Paging):
    """Whose keys, and which page of them."""

    project: ProjectId | None = None
    """Null: the caller's."""


@router.post("", status_code=201, dependencies=[ADMIN])
async def create_key(body: KeyIn, services: Use, caller: Caller, response: Response) -> NewKey:
    """Make a key. The answer is the one place where it can be read; the service keeps only its SHA-256."""
    if excess := sorted(set(body.scopes) - caller.scopes):
        raise Forbidden(f"the caller has no scope {excess[0]} to give", remedy="give fewer scopes")
    if body.expires_at is not None and body.expires_at <= time.time():
        raise InvalidInput("is in the past", field="expires_at", remedy="give a Unix time that is to come")
    project = body.project or caller.project
    if project != caller.project and KeyScope.OPERATOR not in caller.scopes:
        raise Forbidden("a key for another project needs the scope operator", remedy="leave out `project`")
    request = KeyRequest(body.name, body.scopes, project, body.expires_at)
    made = await asyncio.to_thread(services.keys.create, request)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"/v1/keys/{made.id}"
    return made


@router.get("", dependencies=[ADMIN])
async def list_keys(services: Use, caller: Caller, query: Annotated[KeyQuery, Query()]) -> Page[Key]:
    """The keys of the caller's project, or for an operator those of `project`; revoked ones too."""
    wanted = query.project or caller.project
    if wanted != caller.project and KeyScope.OPERATOR not in caller.scopes:
        raise Forbidden("keys of another project need the scope operator", remedy="leave out `project`")
    keys = await asyncio.to_thread(lambda: services.keys.keys(project=wanted))
    return cut(sorted(keys, key=lambda key: key.id), query, lambda key: key.id)


@router.get("/{id}", dependencies=[ADMIN])
async def get_key(key: Id, services: Use, caller: Caller) -> Key:
    """One key."""
    return await asyncio.to_thread(lambda: services.keys.get(key, project=_reach(caller)))


@router.delete("/{id}", dependencies=[ADMIN])
async def revoke_key(key: Id, services: Use, caller: Caller) -> Key:
    """Revoke a key: it is refused from now on, and its open streams end. The record stays."""
    return await asyncio.to_thread(lambda: services.keys.revoke(key, project=_reach(caller)))


def _reach(caller: Identity) -> str | None:
    """The project whose keys the caller may touch; None: all."""
    return None if KeyScope.OPERATOR in caller.scopes else caller.project

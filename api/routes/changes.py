"""/v1/changes: who changed what; written by `ChangeLog`, a middleware, so that no route can forget to.

A change is an answered request below 400 that is PUT, PATCH or DELETE, or whose route needs more than the scopes
`read` and `label`. Labelling is not one: every label carries its own provenance.
"""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.callers import ADMIN, Caller, Identity, KeyScope
from api.request_ids import REQUEST_ID
from api.services import Page, Paging, Use
from api.store.changes import Change, ChangeStore

router = APIRouter(prefix="/v1/changes", tags=["access"])

_WRITES: Final = frozenset({"PUT", "PATCH", "DELETE"})
_SEEING: Final = frozenset({KeyScope.READ, KeyScope.LABEL})


@router.get("", dependencies=[ADMIN])
async def list_changes(
    services: Use,
    caller: Caller,
    paging: Annotated[Paging, Query()],
) -> Page[Change]:
    """Changes made by the caller's project, newest first unless `order` says otherwise."""
    options: dict[str, Any] = {"after": paging.after, "limit": paging.limit, "order": paging.order}
    found, more = await asyncio.to_thread(lambda: services.changes.page(**options, project=caller.project))
    first, last = (found[0].id, found[-1].id) if found else (None, None)
    return Page(data=found, first_id=first, last_id=last, has_more=more)


class ChangeLog:
    """Middleware that logs a change before its answer is sent: one that cannot be logged is answered 500."""

    def __init__(self, app: ASGIApp, changes: ChangeStore) -> None:
        self._app = app
        self._changes = changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and its answer back."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and _changed(scope, message["status"]):
                await asyncio.to_thread(self._append, scope, message)
            await send(message)

        await self._app(scope, receive, answer if scope["type"] == "http" else send)

    def _append(self, scope: Scope, message: Message) -> None:
        identity: Identity = scope["state"]["identity"]
        headers = Headers(raw=message["headers"])
        self._changes.append(
            project=identity.project,
            key=identity.key_id,
            name=identity.name,
            action=f"{scope['method']} {scope['route'].path}",
            target=headers.get("location", scope["path"]),
            status=message["status"],
            request_id=REQUEST_ID.get(),
        )


def _changed(scope: Scope, status: int) -> bool:
    """Whether what was answered is a change that is logged."""
    state = scope.get("state", {})
    if status >= 400 or "identity" not in state or "route" not in scope or scope["method"] in ("GET", "HEAD"):
        return False
    return scope["method"] in _WRITES or bool(state.get("needed", frozenset()) - _SEEING)

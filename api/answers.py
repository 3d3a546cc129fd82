"""Requests that may be sent twice: an Idempotency-Key makes the second one get the first one's answer.

    router = APIRouter(prefix="/v1/things", route_class=Keyed)

Same key and same request: the stored answer, for a day, with `Idempotent-Replayed: true`. Another request with the key:
422. The first one is still at work: 409. A request that failed has no answer, so its key may be used again. Jobs and
audits keep their keys with their rows, for ever.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute

from api.callers import LOCAL, identity, scopes_of
from api.store.answers import CLAIM_S, Answer, AnswerStore
from solon.errors import InvalidInput

HEADER: Final = "Idempotency-Key"
_KEPT_HEADERS: Final = ("content-type", "location", "etag")
_LONGEST: Final = 255


def _declared(
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=_LONGEST, description="The same key and request get the same answer."),
    ] = None,
) -> None:
    """For the OpenAPI document, and for the length."""


class Keyed(APIRoute):
    """A route whose POST takes an Idempotency-Key."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if "POST" in (options.get("methods") or ()):
            options["dependencies"] = [*(options.get("dependencies") or ()), Depends(_declared)]
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the store of answers."""
        handler = super().get_route_handler()
        if "POST" not in (self.methods or ()):
            return handler

        async def keyed(request: Request) -> Response:
            key = request.headers.get(HEADER)
            caller = identity(request)  # without the scope there is no stored answer either
            allowed = caller is None or scopes_of(self.dependant) <= caller.scopes
            if key is None or not 0 < len(key) <= _LONGEST or not allowed:
                return await handler(request)
            return await _answered(request, key, handler)

        return keyed


async def _answered(
    request: Request, key: str, handler: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    caller = identity(request) or LOCAL
    store = AnswerStore(request.app.state.services.database)
    if not key.isprintable():
        raise InvalidInput("is not plain text", field=HEADER, remedy="use letters and digits, such as a UUID")
    digest = hashlib.sha256(f"{caller.key_id}\n{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(await request.body())
    earlier = await asyncio.to_thread(store.claim, caller.project, key, digest.hexdigest())
    if earlier is not None:
        return Response(earlier.body, earlier.status, headers={**earlier.headers, "Idempotent-Replayed": "true"})
    try:
        async with _claimed(store, caller.project, key):
            response = await handler(request)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(store.release, caller.project, key))
        raise
    if response.status_code < 400:
        headers = {name: value for name, value in response.headers.items() if name in _KEPT_HEADERS}
        answer = Answer(response.status_code, headers, bytes(response.body))
        await asyncio.to_thread(store.keep, caller.project, key, answer)
    else:
        await asyncio.to_thread(store.release, caller.project, key)
    return response


@asynccontextmanager
async def _claimed(store: AnswerStore, project: str, key: str) -> AsyncGenerator[None]:
    """Tells all servers, as long as the block lasts, that the answer is being made."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(CLAIM_S / 3)
            await asyncio.to_thread(store.renew, project, key)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)

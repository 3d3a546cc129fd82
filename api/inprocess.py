"""The service inside of a command: the client's requests go to the application in this process, and no port is opened.

    with connected(settings, server) as service:       # a server's address, or None for this one

The jobs of a service are not run here; a command that needs them names a server.
"""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Self, TypeVar

import httpx2

from api.client import Service
from api.registry import Models
from solon.settings import Settings

Result = TypeVar("Result")


@contextmanager
def connected(settings: Settings, server: str | None) -> Generator[Service]:
    """A client of the server, or of the service in this process, which works on the settings' database."""
    if server is not None:
        with Service(server) as service:
            yield service
        return
    with Embedded(settings) as transport, Service("http://127.0.0.1", transport=transport) as service:
        yield service


class Embedded(httpx2.BaseTransport):
    """Requests to the application, which runs in a thread of its own. Use as `with Embedded(settings) as transport`."""

    def __init__(self, settings: Settings, models: Models | None = None) -> None:
        """Args:
        models: stands in for real models in tests.
        """
        from api.app import create_app

        self._app = create_app(settings, models=models)
        self._inside = httpx2.ASGITransport(app=self._app, raise_app_exceptions=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded service", daemon=True)
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._stack.enter_async_context(self._app.router.lifespan_context(self._app)))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The application's answer, whole."""
        return self._run(self._answer(request))

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        body = request.read()
        asked = httpx2.Request(request.method, request.url, headers=request.headers, content=body)
        answer = await self._inside.handle_async_request(asked)
        content = await answer.aread()
        return httpx2.Response(answer.status_code, headers=answer.headers, content=content)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

"""An HTTP transport for many small requests to one server: one connection per request in flight.

An ordinary connection pool looks at every connection it holds for every request, which at 64 connections costs as much
processor time as the rest of the request (2.4 ms against 1.35 ms, measured). Here a request takes the connection that
was used last, or opens one when all are busy; the caller bounds how many that can be.
"""

import ssl

import httpx2


class Lanes(httpx2.AsyncBaseTransport):
    """Keeps one single-connection transport per request in flight, the last used first. Bodies are read whole."""

    def __init__(self, *, tls: bool) -> None:
        self._verify: ssl.SSLContext | bool = httpx2.create_ssl_context(trust_env=False) if tls else False
        self._idle: list[httpx2.AsyncHTTPTransport] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, with its body read."""
        lane = self._idle.pop() if self._idle else self._open()
        try:
            response = await lane.handle_async_request(request)
            await response.aread()
            return response
        finally:
            self._idle.append(lane)

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop().aclose()

    def _open(self) -> httpx2.AsyncHTTPTransport:
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        return httpx2.AsyncHTTPTransport(verify=self._verify, trust_env=False, limits=limits)

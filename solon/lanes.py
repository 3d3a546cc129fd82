"""An HTTP transport for many small requests to one server: one connection per request in flight.

A general client's layers (pool, timeouts around each read and write, streams) cost processor time for every judge
call, which counts beside a judge that answers in 20 ms. A request takes the connection that was used last, or opens
one when all are busy; the caller bounds how many that can be. HTTP/1.1 is h11's business.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

import h11
import httpx2

_AT_ONCE = 1 << 16

Dial = Callable[[str, int], Awaitable[list[str]]]
"""The addresses that a host and port may be called at, in the order in which they are tried; raises OSError."""


class Lanes(httpx2.AsyncBaseTransport):
    """Keeps connections open, the last used first. Bodies are read whole; all requests go to one server."""

    def __init__(self, *, tls: bool, dial: Dial | None = None, max_bytes: int | None = None) -> None:
        """Args:
        dial: the addresses that a host may be called at; None asks the system.
        max_bytes: of a body; None is no limit.
        """
        self._tls: ssl.SSLContext | None = httpx2.create_ssl_context(trust_env=False) if tls else None
        self._dial = dial
        self._max_bytes = max_bytes
        self._idle: list[_Lane] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, with its body read; the timeouts are those of the request's `timeout` extension."""
        limits = request.extensions.get("timeout", {})
        lane = self._waiting() or await _Lane.open(request, self._tls, limits.get("connect"), self._dial)
        try:
            response = await lane.exchange(request, limits.get("read"), self._max_bytes)
        except BaseException:  # also when cancelled: half an exchange is on the line
            lane.close()
            raise
        if lane.is_reusable:
            self._idle.append(lane)
        else:
            lane.close()
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle:
            lane = self._idle.pop()
            lane.close()
            await lane.closed()

    def _waiting(self) -> "_Lane | None":
        """The connection used last that the server has not closed."""
        while self._idle:
            lane = self._idle.pop()
            if not lane.is_closed:
                return lane
            lane.close()
        return None


class _Lane:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(
        cls, request: httpx2.Request, tls: ssl.SSLContext | None, timeout_s: float | None, dial: Dial | None = None
    ) -> Self:
        """A connection to the server of a request; raises httpx2.ConnectError or ConnectTimeout, and what `dial` does.

        With `dial` it goes to one of its addresses, and to no other that the name may have by now.
        """
        url = request.url
        port = url.port or (443 if tls is not None else 80)
        try:
            async with asyncio.timeout(timeout_s):
                name = url.raw_host.decode("ascii").removesuffix(".") if tls is not None else None
                places = [url.host] if dial is None else await dial(url.raw_host.decode("ascii"), port)
                for number, place in enumerate(places, start=1):
                    try:
                        return cls(*await asyncio.open_connection(place, port, ssl=tls, server_hostname=name))
                    except OSError:
                        if number == len(places):
                            raise
                raise OSError("the host has no address")
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no connection in time", request=request) from error
        except OSError as error:
            raise httpx2.ConnectError(str(error), request=request) from error

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it."""
        return self._reader.at_eof()

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._http.our_state is h11.IDLE

    async def exchange(
        self, request: httpx2.Request, timeout_s: float | None, max_bytes: int | None = None
    ) -> httpx2.Response:
        """The response; raises httpx2.ReadTimeout after so long a silence, ReadError or RemoteProtocolError."""
        try:
            self._writer.write(self._outgoing(request))
            response, body = await self._incoming(timeout_s, max_bytes)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("no answer in time", request=request) from error
        except OSError as error:
            raise httpx2.ReadError(str(error), request=request) from error
        except h11.RemoteProtocolError as error:
            raise httpx2.RemoteProtocolError(str(error), request=request) from error
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return httpx2.Response(response.status_code, headers=list(response.headers), content=body, request=request)

    def close(self) -> None:
        """Close it without waiting."""
        self._writer.close()

    async def closed(self) -> None:
        """Returns when it is closed; how the server took it does not matter."""
        with suppress(OSError):
            await self._writer.wait_closed()

    def _outgoing(self, request: httpx2.Request) -> bytes:
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        events = (head, h11.Data(data=request.content), h11.EndOfMessage())
        return b"".join(self._http.send(event) or b"" for event in events)

    async def _incoming(self, timeout_s: float | None, max_bytes: int | None) -> tuple[h11.Response, bytes]:
        parts: list[bytes] = []
        size = 0
        response: h11.Response | None = None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s) as limit:
            await self._writer.drain()
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(_AT_ONCE))
                    limit.reschedule(None if timeout_s is None else loop.time() + timeout_s)
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                    size += len(event.data)
                    if max_bytes is not None and size > max_bytes:
                        raise h11.RemoteProtocolError("the body is too long")
                elif response is not None and isinstance(event, h11.EndOfMessage):
                    return response, b"".join(parts)
                elif isinstance(event, h11.ConnectionClosed):
                    raise h11.RemoteProtocolError("the server closed the connection")

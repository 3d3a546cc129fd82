"""The transport over real connections: kept, shared by nobody, given up when something is wrong with them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest

from solon.lanes import Lanes

Answer = Callable[[asyncio.StreamWriter, int], Awaitable[None]]
"""Writes the answer to a request; the number counts connections."""


class Server:
    """Reads requests on a loopback port and lets `answer` write what it likes."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.bodies: list[bytes] = []
        self.tasks: list[asyncio.Task[None] | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        number = self.connections
        self.tasks.append(asyncio.current_task())
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                self.bodies.append(await reader.readexactly(length))
                await self.answer(writer, number)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncGenerator[tuple[Server, str, Lanes]]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    lanes = Lanes(tls=False)
    try:
        yield server, f"http://127.0.0.1:{port}/v1/x", lanes
    finally:
        await lanes.aclose()
        listener.close()
        await asyncio.gather(*(task for task in server.tasks if task is not None))


async def post(lanes: Lanes, url: str, *, read_s: float = 5.0) -> httpx2.Response:
    timeout = {"connect": 5.0, "read": read_s}
    return await lanes.handle_async_request(httpx2.Request("POST", url, json={"a": 1}, extensions={"timeout": timeout}))


async def plain(writer: asyncio.StreamWriter, number: int) -> None:
    text = f"connection {number}".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


async def test_one_request_after_the_other_shares_a_connection():
    async with serving(plain) as (server, url, lanes):
        texts = [(await post(lanes, url)).text for _ in range(3)]
    assert texts == ["connection 1"] * 3
    assert server.bodies == [b'{"a":1}'] * 3


async def test_requests_in_flight_have_connections_of_their_own_and_leave_them_to_later_ones():
    async with serving(plain) as (server, url, lanes):
        first = await asyncio.gather(*(post(lanes, url) for _ in range(5)))
        again = await asyncio.gather(*(post(lanes, url) for _ in range(5)))
    assert server.connections == 5
    assert sorted(each.text for each in first) == sorted(each.text for each in again)


async def test_a_connection_that_the_server_closed_is_not_used_again():
    async def once(writer: asyncio.StreamWriter, number: int) -> None:
        await plain(writer, number)
        writer.close()

    async with serving(once) as (server, url, lanes):
        assert (await post(lanes, url)).status_code == 200
        await asyncio.sleep(0.05)
        assert (await post(lanes, url)).status_code == 200
    assert server.connections == 2


async def test_a_body_in_pieces_is_read_whole():
    async def chunked(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"1\r\no\r\n0\r\n\r\n")

    async with serving(chunked) as (server, url, lanes):
        assert [(await post(lanes, url)).text for _ in range(2)] == ["hello", "hello"]
    assert server.connections == 1


async def test_silence_is_a_timeout_and_the_connection_is_given_up():
    async def silent_once(writer: asyncio.StreamWriter, number: int) -> None:
        if number > 1:
            await plain(writer, number)

    async with serving(silent_once) as (_, url, lanes):
        with pytest.raises(httpx2.ReadTimeout):
            await post(lanes, url, read_s=0.05)
        assert (await post(lanes, url)).text == "connection 2"


async def test_half_an_answer_is_an_error():
    async def half(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with serving(half) as (_, url, lanes):
        with pytest.raises(httpx2.RemoteProtocolError):
            await post(lanes, url)


async def test_what_is_no_http_is_an_error():
    async def noise(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    async with serving(noise) as (_, url, lanes):
        with pytest.raises(httpx2.RemoteProtocolError):
            await post(lanes, url)


async def test_nobody_listening_is_a_connection_error():
    with pytest.raises(httpx2.ConnectError):
        await post(Lanes(tls=False), "http://127.0.0.1:9/v1/x")


async def test_a_cancelled_request_leaves_no_half_read_connection_behind():
    slow = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await slow.wait()
        await plain(writer, number)

    async with serving(answer) as (_, url, lanes):
        task = asyncio.ensure_future(post(lanes, url))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        slow.set()
        assert (await post(lanes, url)).text == "connection 2"

"""An OpenAI-compatible server that gives every request the same answer: what is left is the client's own cost.

python -m benchmarks.answering_server [PORT] [LATENCY_MS]        at once, unless a latency is given
"""

import asyncio
import json
import sys

_TOP = [{"token": token, "logprob": -1.0 - 0.3 * i} for i, token in enumerate(["A", "B", *map(str, range(18))])]
_BODY = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "at-once",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A"},
                "logprobs": {"content": [{"token": "A", "logprob": -1.0, "top_logprobs": _TOP}]},
                "finish_reason": "length",
            }
        ],
        "usage": {"prompt_tokens": 750, "completion_tokens": 1, "total_tokens": 751},
    }
).encode()
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY


class Connection(asyncio.Protocol):
    """One connection; a request is over when as many bytes came as its head says."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._got = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream server
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._got[:end]).lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in head if line.startswith(b"content-length:"))
            if len(self._got) < end + 4 + length:
                return
            del self._got[: end + 4 + length]
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def main() -> None:
    """Serve until interrupted."""
    port, latency_ms = (*map(float, sys.argv[1:]), *(8977.0, 0.0)[len(sys.argv) - 1 :])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency_ms / 1000), "127.0.0.1", int(port))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

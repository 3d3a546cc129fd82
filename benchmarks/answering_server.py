"""An OpenAI-compatible server that gives every request the same answer at once: what is left is the client's own cost.

python -m benchmarks.answering_server [PORT]
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


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until the client closes it."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            writer.write(_ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Serve until interrupted."""
    server = await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8977)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

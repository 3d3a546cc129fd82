"""Judge calls per second on a real vLLM: principles last (ours) against principles first, a bare loop, and distilabel.

    python -m benchmarks.prefix_sharing --vllm .vllm-env/bin/vllm
    python -m benchmarks.prefix_sharing --vllm .vllm-env/bin/vllm --against distilabel --distilabel ENV/bin/python

Every pair (two completions, prompts of some 750 tokens) is compared under 16 principles in both orders. All sides send
to one server (a random Llama of 30 M parameters) within one run, each with texts of its own, so none finds another's
prefixes in the cache; the rounds of ours and of the other side alternate.

    ours              `critic.pipeline.label` with everything it does
    first             the same calls by the same code, the principle moved to the front of the prompt
    bare              asyncio and sockets, the same requests made before the clock starts, first principle ahead
    distilabel        its own environment and processes: a task with the same prompts and one output token, timed from
                      its first batch to its last, so without its start
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.vllm_server import NAME, processors, prose, random_llama, served
from constitution.document import Constitution, Principle, load
from critic.concurrency import in_order, together
from critic.judge import Judge
from critic.judges.desk import Desk
from critic.judges.logprobs import SAMPLING, Logprobs, pair_messages
from critic.pipeline import label
from critic.readings import Reading
from solon.chat import OpenAIChat
from solon.records import Comparison, Completion, Message, PreferencePair, Prompt
from solon.rows import Row

IN_FLIGHT = 64
ROWS_IN_FLIGHT = 16
QUESTION_WORDS, COMPLETION_WORDS = 40, 190


@dataclass(frozen=True)
class Rate:
    """What a side did in a round."""

    calls: int
    seconds: float
    prompt_tokens: int = 0

    def __add__(self, other: "Rate") -> "Rate":
        """Both rounds together."""
        return Rate(self.calls + other.calls, self.seconds + other.seconds, self.prompt_tokens + other.prompt_tokens)

    @property
    def per_second(self) -> float:
        """Judge calls per second."""
        return self.calls / self.seconds


class PrincipleFirst(Logprobs):
    """The default method, but for the order of the prompt's parts."""

    async def prefer(self, listed: Comparison, principle: Principle, desk: Desk) -> Reading:
        """See `Method.prefer`."""
        system, request = pair_messages(listed, principle, self.labels)
        rest, _, asked = request.content.rpartition("\n\nPrinciple: ")
        moved = Message(role="user", content=f"Principle: {asked}\n\n{rest}")
        return await desk.labels((system, moved), self.labels, SAMPLING)


def rows(count: int, side: str) -> list[Row]:
    """Pairs with texts that no other side has."""
    made: list[Row] = []
    for number in range(count):
        key = f"{side} {number}"
        prompt = Prompt(id=key, messages=(Message(role="user", content=prose(QUESTION_WORDS, f"{key} q")),))
        texts = tuple(Completion(text=prose(COMPLETION_WORDS, f"{key} {letter}")) for letter in "ab")
        made.append(Row(prompt=prompt, completions=texts))
    return made


async def ours(url: str, text: Constitution, given: Sequence[Row], method: Logprobs | None = None) -> Rate:
    """The pipeline, as `solon label` uses it."""
    async with OpenAIChat(NAME, url, NAME, max_concurrency=IN_FLIGHT, timeout_s=600) as chat:
        judge = Judge(chat, method=method, min_label_mass=0.0)
        began = time.perf_counter()
        items = [
            item
            async for item in label(
                given, constitution=text, judge=judge, min_coverage=0, max_rows_in_flight=ROWS_IN_FLIGHT
            )
        ]
        seconds = time.perf_counter() - began
    failed = [
        vote.detail
        for item in items
        if isinstance(item, PreferencePair)
        for verdict in item.verdicts
        for vote in verdict.votes
        if vote.status not in ("ok", "off_format")
    ]
    if failed or judge.usage.judge_calls != len(given) * 2 * len(text.principles):
        raise SystemExit(f"{len(failed)} calls failed: {failed[:1]}")
    return Rate(judge.usage.judge_calls, seconds, judge.usage.prompt_tokens)


def bodies(text: Constitution, row: Row) -> list[bytes]:
    """The requests of one pair, both orders of each principle in turn."""
    listed = Comparison(prompt=row.prompt, a=row.completions[0], b=row.completions[1])
    return [
        json.dumps({"model": NAME, "messages": turns(each, principle), **_LOGPROBS}).encode()
        for principle in text.principles
        for each in (listed, listed.swap())
    ]


def turns(listed: Comparison, principle: Principle) -> list[dict[str, str]]:
    """The messages of one judge call."""
    return [{"role": each.role, "content": each.content} for each in pair_messages(listed, principle)]


_LOGPROBS: dict[str, Any] = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}


class Sockets:
    """Kept-open connections to one server, the last used first."""

    def __init__(self, url: str) -> None:
        self.host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
        self.port = int(port)
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: bytes) -> dict[str, Any]:
        """The parsed answer to one chat completion."""
        async with self._slots:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self.host, self.port)
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in answer.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            reply: dict[str, Any] = json.loads(await reader.readexactly(length))
            self._idle.append((reader, writer))
            return reply

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()


async def bare_loop(url: str, text: Constitution, given: Sequence[Row]) -> Rate:
    """The same requests with nothing around them."""
    prepared, sockets, tokens = [bodies(text, row) for row in given], Sockets(url), 0

    async def pair(requests: list[bytes]) -> list[dict[str, Any]]:
        first = await together(sockets.post(each) for each in requests[:2])
        return first + await together(sockets.post(each) for each in requests[2:])

    began = time.perf_counter()
    async for replies in in_order(prepared, pair, width=ROWS_IN_FLIGHT):
        for reply in replies:
            tokens += reply["usage"]["prompt_tokens"]
            if not reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
                raise SystemExit("no log-probabilities")
    seconds = time.perf_counter() - began
    sockets.close()
    return Rate(sum(map(len, prepared)), seconds, tokens)


async def distilabel(url: str, text: Constitution, given: Sequence[Row], python: str, folder: Path) -> Rate:
    """distilabel's pipeline on the same prompts, one row each, those of a pair beside each other."""
    prompts, result = folder / "prompts.jsonl", folder / "distilabel.json"
    with prompts.open("w") as file:
        for row in given:
            for body in bodies(text, row):
                file.write(json.dumps({"messages": json.loads(body)["messages"]}) + "\n")
    script = Path(__file__).with_name("distilabel_pairs.py")
    arguments = [str(script), str(prompts), url, NAME, str(IN_FLIGHT), str(result)]
    with (folder / "distilabel.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(python, *arguments, stdout=log, stderr=log)
        if await child.wait():
            raise SystemExit((folder / "distilabel.log").read_text()[-4000:])
    found = json.loads(result.read_text())
    return Rate(found["calls"], found["seconds"])


async def compare(options: argparse.Namespace, folder: Path) -> None:
    """Start the server, or take the one that is named, and print the rates."""
    if options.url:
        print(f"{processors()}; {options.url}", flush=True)
        await measure(options, options.url, folder)
        return
    parameters = random_llama(folder / "model", hidden=options.hidden, layers=options.layers)
    async with served(folder / "model", options.vllm, folder / "vllm.log") as url:
        print(f"{processors()}; {parameters / 1e6:.1f} M parameters", flush=True)
        await measure(options, url, folder)


async def measure(options: argparse.Namespace, url: str, folder: Path) -> None:
    """The sides one after the other, those of the first two in alternating rounds."""
    text = judging_only(load("harmlessness-16"), 16)
    warm = await ours(url, text, rows(1, "warm"))
    print(f"{warm.prompt_tokens / warm.calls:.0f} tokens a prompt", flush=True)
    half, our, others = options.pairs // 2, Rate(0, 0.0), {name: Rate(0, 0.0) for name in options.against}
    for number in range(2):
        our += await ours(url, text, rows(half, f"ours {number}"))
        if "bare" in others:
            others["bare"] += await bare_loop(url, text, rows(half, f"bare {number}"))
    report("ours", our)
    if "first" in others:
        others["first"] = await ours(url, text, rows(options.first_pairs, "first"), PrincipleFirst())
    if "distilabel" in others:
        given = rows(half, "distilabel")
        others["distilabel"] = await distilabel(url, text, given, options.distilabel, folder)
    for name, rate in others.items():
        report(name, rate, our)


def judging_only(text: Constitution, count: int) -> Constitution:
    """The constitution with its first principles, each applying to everything, and nothing else to judge."""
    kept = tuple(each.model_copy(update={"scopes": ("general",)}) for each in text.principles[:count])
    return text.model_copy(update={"principles": kept, "rules": (), "propositions": (), "classes": (), "few_shot": ()})


def report(name: str, rate: Rate, our: Rate | None = None) -> None:
    """One line: the rate, and how it compares with ours."""
    ratio = "" if our is None else f"; ours / {name}: {our.per_second / rate.per_second:.2f}"
    print(
        f"{name:16s} {rate.calls:5d} calls in {rate.seconds:6.1f} s: {rate.per_second:5.2f} per second{ratio}",
        flush=True,
    )


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vllm", default="vllm", help="the vllm command of its environment")
    parser.add_argument("--url", help="a server that runs already, such as that of answering_server.py")
    parser.add_argument("--hidden", type=int, default=512, help="width of the model: 64 leaves Python the cost")
    parser.add_argument("--layers", type=int, default=9)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--first-pairs", type=int, default=8, help="pairs judged principle first, which is slow")
    parser.add_argument("--against", nargs="+", choices=["bare", "first", "distilabel"], default=["bare", "first"])
    parser.add_argument(
        "--distilabel",
        default=".distilabel-env/bin/python",
        help="python of an environment with distilabel[openai]==1.5.3",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(options, Path(folder)))


if __name__ == "__main__":
    main()

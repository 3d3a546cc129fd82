"""The running service under load: what it costs beside a bare client, how long others wait, what memory it takes.

    python -m benchmarks.service_load throughput [--in-flight 8 16 32] [--seconds 10]
    python -m benchmarks.service_load jobs [--reads 2000]
    python -m benchmarks.service_load memory [--labels 200000]
    python -m benchmarks.service_load startup

throughput: POST /v1/preferences with one prompt and two completions under `civic` (ten principles, both orders: twenty
    judge calls), against a judge that answers after 20 ms, beside a bare asyncio client of the same judge with as many
    requests in flight that parses the answers and does nothing else. Both keep the judge's places filled.
jobs: GET /v1/jobs/{id} while such requests keep the service busy.
memory: resident memory of the service over many labels.
startup: from the command to the first answer, and what the idle process holds.

The judge, the service and what loads it are three processes; with two cores they take turns.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.prefix_sharing import bodies
from constitution.document import load
from solon.lanes import Lanes
from solon.records import Completion, Message, Prompt
from solon.rows import Row

LATENCY_MS = 20
JUDGE_PORT, SERVICE_PORT = 8977, 8911
SERVICE = f"http://127.0.0.1:{SERVICE_PORT}"
JUDGE = f"http://127.0.0.1:{JUDGE_PORT}/v1"


@contextmanager
def judge(latency_ms: float = LATENCY_MS) -> Generator[int]:
    """The judge's process id."""
    command = [sys.executable, "-m", "benchmarks.answering_server", str(JUDGE_PORT), str(latency_ms)]
    with ended(subprocess.Popen(command)) as child:
        time.sleep(1.0)
        yield child.pid


@contextmanager
def service(folder: Path, in_flight: int, *overrides: str) -> Generator[int]:
    """The service's process id, once it answers."""
    far = f"{{kind: judge, engine: vllm, endpoint: '{JUDGE}', max_concurrency: {in_flight}}}"
    values = [
        f"database=sqlite:///{folder / 'solon.db'}",
        f"artifacts={folder / 'artifacts'}",
        "cache=off",
        f"models.far={far}",
        f"limits.requests_in_flight={4 * in_flight}",
        *overrides,
    ]
    sets = [word for value in values for word in ("--set", value)]
    command = [sys.executable, "-m", "api.cli", *sets, "serve", "--workers-embedded", "0", "--port", str(SERVICE_PORT)]
    with (folder / "service.log").open("wb") as log, ended(subprocess.Popen(command, stdout=log, stderr=log)) as child:
        until = time.monotonic() + 60
        while not answers(f"{SERVICE}/livez"):
            if time.monotonic() > until or child.poll() is not None:
                raise SystemExit((folder / "service.log").read_text()[-3000:])
            time.sleep(0.02)
        yield child.pid


@contextmanager
def ended(child: "subprocess.Popen[bytes]") -> Generator["subprocess.Popen[bytes]"]:
    """The child, which is gone after the block."""
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def answers(url: str) -> bool:
    """Whether somebody answers there."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return answer.status == 200
    return False


def row(number: int) -> Row:
    """A question with two answers of some forty words, no two alike."""
    texts = (f"{number} A kind answer that helps. " * 8, f"{number} A rude answer that does not. " * 8)
    message = Message(role="user", content=f"Question {number}, and why?")
    return Row(
        prompt=Prompt(id=f"p{number}", messages=(message,)), completions=tuple(Completion(text=t) for t in texts)
    )


def request_body(number: int) -> bytes:
    """The same as a request to the service."""
    given = row(number)
    prompt = {"prompt": given.prompt.messages[0].content, "completions": [each.text for each in given.completions]}
    return json.dumps({"constitution": "civic", "judge": "far", "prompts": [prompt]}).encode()


@asynccontextmanager
async def connection() -> AsyncGenerator[Callable[[str, str, bytes], Awaitable[httpx2.Response]]]:
    """Sends requests with as little around them as our own transport has."""
    lanes = Lanes(tls=False)

    async def send(method: str, url: str, body: bytes = b"") -> httpx2.Response:
        headers = {"Content-Type": "application/json"}
        timeout = {"timeout": {"connect": 5.0, "read": 60.0}}
        request = httpx2.Request(method, url, content=body, headers=headers, extensions=timeout)
        return await lanes.handle_async_request(request)

    yield send
    await lanes.aclose()


async def bare(in_flight: int, seconds: float) -> float:
    """Judge calls per second of a loop that keeps so many requests in flight."""
    requests = bodies(load("civic"), row(0))
    until, calls = time.perf_counter() + seconds, 0

    async with connection() as send:

        async def work(number: int) -> None:
            nonlocal calls
            while time.perf_counter() < until:
                reply = await send("POST", f"{JUDGE}/chat/completions", requests[number % len(requests)])
                if not json.loads(reply.content)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
                    raise SystemExit("no log-probabilities")
                calls += 1

        began = time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(in_flight)))
        return calls / (time.perf_counter() - began)


async def through_service(posts: int, seconds: float) -> tuple[float, int]:
    """Judge calls per second that the service makes for so many posts at a time, and pairs in all."""
    until, calls, pairs = time.perf_counter() + seconds, 0, 0

    async with connection() as send:

        async def work(worker: int) -> None:
            nonlocal calls, pairs
            number = worker
            while time.perf_counter() < until:
                answer = await send("POST", f"{SERVICE}/v1/preferences", request_body(number))
                if answer.status_code != 200:
                    raise SystemExit(answer.text)
                (pair,) = answer.json()["data"]
                calls, pairs, number = calls + pair["provenance"]["judge_calls"], pairs + 1, number + posts

        began = time.perf_counter()
        await asyncio.gather(*(work(worker) for worker in range(posts)))
        return calls / (time.perf_counter() - began), pairs


def throughput(options: argparse.Namespace) -> None:
    """Alternating rounds of both sides at each number in flight."""
    for in_flight in options.in_flight:
        with tempfile.TemporaryDirectory() as place, judge(), service(Path(place), in_flight) as pid:
            posts = max(4, in_flight // 4)
            asyncio.run(through_service(posts, 2.0))  # warm
            rates: list[tuple[float, float]] = []
            used, labelled = processor_s(pid), 0
            for _ in range(2):
                alone = asyncio.run(bare(in_flight, options.seconds / 2))
                ours, pairs = asyncio.run(through_service(posts, options.seconds / 2))
                rates.append((ours, alone))
                labelled += pairs
            spent_ms = (processor_s(pid) - used) * 1000
        ours, alone = (sum(each) / len(rates) for each in zip(*rates, strict=True))
        print(
            f"{in_flight:3d} in flight: service {ours:6.0f} judge calls/s, bare client {alone:6.0f}: ratio "
            f"{ours / alone:.2f}; {spent_ms / max(1, labelled * 20):.2f} ms of processor time a call",
            flush=True,
        )


def jobs(options: argparse.Namespace) -> None:
    """Reads of a job while the service labels."""
    with tempfile.TemporaryDirectory() as place, judge(), service(Path(place), 8):
        print(asyncio.run(_reads(options.reads)), flush=True)


async def _reads(count: int) -> str:
    recipe = {"name": "load", "constitution": "civic", "judge": "far", "steps": [{"type": "label"}]}
    async with connection() as send:
        made = await send("POST", f"{SERVICE}/v1/jobs", json.dumps({"recipe": recipe}).encode())
        job = made.json()["id"]
        stop = asyncio.Event()
        labelling = asyncio.create_task(_label_until(stop, send))
        waits: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            answer = await send("GET", f"{SERVICE}/v1/jobs/{job}", b"")
            waits.append(time.perf_counter() - began)
            if answer.status_code != 200:
                raise SystemExit(answer.text)
            await asyncio.sleep(0.005)
        stop.set()
        pairs = await labelling
        await send("POST", f"{SERVICE}/v1/jobs/{job}/cancel", b"")
    found = sorted(waits)
    p50, p99 = (found[int(len(found) * share)] * 1000 for share in (0.5, 0.99))
    return (
        f"GET /v1/jobs/{{id}}: p50 {p50:.1f} ms, p99 {p99:.1f} ms over {count} reads, while {pairs} pairs were labelled"
    )


async def _label_until(stop: asyncio.Event, send: Callable[[str, str, bytes], Awaitable[httpx2.Response]]) -> int:
    number = 0
    while not stop.is_set():
        batch = [send("POST", f"{SERVICE}/v1/preferences", request_body(number + i)) for i in range(2)]
        await asyncio.gather(*batch)
        number += 2
    return number


def memory(options: argparse.Namespace) -> None:
    """Resident memory at every twentieth of the labels."""
    with tempfile.TemporaryDirectory() as place, judge(0), service(Path(place), 32) as pid:
        asyncio.run(_grow(pid, options.labels))


async def _grow(pid: int, labels: int) -> None:
    """A label is one vote: one principle, one order."""
    done, shown = 0, 0
    async with connection() as send:

        async def work(worker: int) -> None:
            nonlocal done, shown
            number = worker
            while done < labels:
                answer = await send("POST", f"{SERVICE}/v1/preferences", request_body(number))
                (pair,) = answer.json()["data"]
                done, number = done + pair["provenance"]["judge_calls"], number + 8
                if done * 20 >= shown * labels:
                    print(f"{done:7d} labels: {resident_mib(pid):.0f} MiB", flush=True)
                    shown += 1

        await asyncio.gather(*(work(worker) for worker in range(8)))


def startup(options: argparse.Namespace) -> None:
    """The best and the worst of some starts on one database, which the first, not counted, makes."""
    found: list[float] = []
    used: list[float] = []
    idle = 0.0
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.starts + 1):
            began = time.perf_counter()
            with service(Path(place), 8) as pid:
                if number:
                    found.append(time.perf_counter() - began)
                    used.append(processor_s(pid))
                time.sleep(1.0)
                idle = resident_mib(pid)
    print(
        f"start: {min(found):.2f} to {max(found):.2f} s, {min(used):.2f} s of processor time; idle: {idle:.0f} MiB",
        flush=True,
    )


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def processor_s(pid: int) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one of the four."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["throughput", "jobs", "memory", "startup"])
    parser.add_argument("--in-flight", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=200_000)
    options = parser.parse_args(arguments)
    measures: dict[str, Callable[[argparse.Namespace], Any]] = {
        "throughput": throughput,
        "jobs": jobs,
        "memory": memory,
        "startup": startup,
    }
    measures[options.what](options)


if __name__ == "__main__":
    main()

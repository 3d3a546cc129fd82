"""What the pipeline itself costs: prompts streamed from a file, judged by an endpoint that answers at once, written.

    python -m benchmarks.streaming [--prompts 100000] [--workers 2]

Each prompt has two completions of some eighty words, compared under one principle in both orders, with everything that
`solon label` does except the network: rows are read and checked, prompts rendered, answers read, probabilities
averaged, signs of attacks looked for, pairs made, written as JSONL and vouched for by a manifest. Workers are processes
with a share of the prompts each, as workers of a service are. Prints comparisons per second, of all workers together
and of processor time, and the peak memory of a worker beside what it needed for a hundredth of its prompts.
"""

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from constitution.document import Constitution, parse
from critic.judge import Judge
from critic.pipeline import label
from solon.chat import ChatReply
from solon.datasets import PairWriter
from solon.fakes import label_reply
from solon.records import Message
from solon.rows import read_rows

TEXT = b"""
format: constitution/v1
id: one
title: One principle
version: 1.0.0
principles: [{id: helpful, title: Help, text: The response should help the person with what they asked.}]
"""


class AtOnce:
    """A `ChatModel` that answers at once: the first completion is better in half of the prompts, by their length."""

    name = model = "at-once"

    def __init__(self) -> None:
        self.calls = 0
        self._replies = [label_reply({"A": p, "B": 1 - p}) for p in (0.2, 0.8)]

    async def complete(self, messages: Sequence[Message], **_: Any) -> ChatReply:
        """One of two replies that were made before."""
        self.calls += 1
        return self._replies[len(messages[-1].content) % 2]


@dataclass(frozen=True)
class Share:
    """What a worker did."""

    comparisons: int
    calls: int
    seconds: float
    processor_seconds: float
    early_mib: float
    """Peak memory after a hundredth of the prompts."""
    peak_mib: float


def write_rows(path: Path, count: int) -> None:
    """A file of rows, no two alike."""
    with path.open("w") as file:
        for number in range(count):
            kind, rude = "A kind answer that helps. " * 16, "A rude answer that does not. " * 16
            row: Mapping[str, str] = {
                "prompt": f"Question {number}, and why? " * 10,
                "response_a": f"{number} {kind}",
                "response_b": f"{number} {rude}",
            }
            file.write(json.dumps(row) + "\n")


async def stream(rows: Path, out: Path, count: int, constitution: Constitution) -> Share:
    """Label the rows of a file."""
    model = AtOnce()
    done, early = 0, 0.0
    began, worked = time.perf_counter(), time.process_time()
    with PairWriter(out) as writer:
        async for item in label(read_rows(rows), constitution=constitution, judge=Judge(model), max_rows_in_flight=64):
            writer.write(item)
            done += 1
            if done == count // 100:
                early = peak_mib()
        writer.commit()
    return Share(done, model.calls, time.perf_counter() - began, time.process_time() - worked, early, peak_mib())


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(folder: Path, worker: int, count: int) -> Share:
    """One worker's share."""
    rows = folder / f"rows-{worker}.jsonl"
    write_rows(rows, count)
    return asyncio.run(stream(rows, folder / f"pairs-{worker}.jsonl", count, parse(TEXT, "one.yaml")))


def main() -> None:
    """Print the rates and the memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    each = options.prompts // options.workers
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        begun = [pool.submit(work, Path(folder), worker, each) for worker in range(options.workers)]
        shares = [future.result() for future in begun]
    comparisons = sum(share.comparisons for share in shares)
    seconds = max(share.seconds for share in shares)
    busy = sum(share.processor_seconds for share in shares)
    print(
        f"{comparisons:,} comparisons, {sum(share.calls for share in shares):,} judge calls, {options.workers} workers"
    )
    print(f"{comparisons / seconds:,.0f} comparisons per second, {comparisons / busy:,.0f} per processor second")
    peak, early = max(share.peak_mib for share in shares), max(share.early_mib for share in shares)
    print(f"peak memory of a worker: {peak:.0f} MiB, of which {early:.0f} MiB after a hundredth of its prompts")


if __name__ == "__main__":
    main()

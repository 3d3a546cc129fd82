"""Requests from many clients, sampled together by a model's threads, with a bound on how many wait.

A request that does not fit is refused at once (`Busy`); nothing queues without end. A client that goes away takes its
sequences with it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from solon.errors import Busy, Failed
from trainer.decoding import TokenLogprobs
from trainer.sampling import Generation, Request, Rollout, Sampler


@dataclass(eq=False)
class _Job:
    """What one request wants: rollouts, or scores of given tokens."""

    rollouts: list[Rollout] = field(default_factory=list[Rollout])
    texts: Sequence[Sequence[int]] = ()
    top: int = 0
    result: Future[Any] = field(default_factory=Future[Any])

    def __post_init__(self) -> None:
        # Running from the start: a waiting caller that is cancelled then leaves the future alone.
        self.result.set_running_or_notify_cancel()

    @property
    def size(self) -> int:
        """Sequences."""
        return len(self.rollouts) + len(self.texts)


class Batcher:
    """Runs samplers of one model, each in its own thread, for callers on an event loop."""

    def __init__(
        self,
        samplers: Sequence[Sampler],
        compute: AbstractContextManager[Any],
        *,
        threads: int = 1,
        max_outstanding: int,
        on_death: Callable[[], None],
    ) -> None:
        """Args:
        samplers: at least one; the work is shared evenly between them.
        compute: held while computing; models of one process share it, so that they take turns on the cores.
        threads: that one operation of a sampler is split over.
        max_outstanding: sequences accepted and not finished, at most.
        on_death: called when a thread ends without having been told to.
        """
        self.model = samplers[0].model
        self.max_outstanding = max_outstanding
        self._compute, self._threads_each, self._on_death = compute, threads, on_death
        self._work = threading.Condition()
        self._arrived: deque[_Job] = deque()
        self._open: set[_Job] = set()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, args=(sampler,), name=f"sampler-{self.model.name}-{i}", daemon=True)
            for i, sampler in enumerate(samplers)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the steps under way, fail what is open, end the threads."""
        with self._work:
            self._stopping = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    async def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """One generation per request; raises Busy where they do not fit."""
        generations: dict[int, Generation] = {}

        def done(i: int, generation: Generation) -> None:
            generations[i] = generation
            if len(generations) == len(requests):
                job.result.set_result([generations[i] for i in range(len(requests))])

        job = _Job(rollouts=[Rollout(request, lambda g, i=i: done(i, g)) for i, request in enumerate(requests)])
        return await self._answer(job)

    async def score(self, texts: Sequence[Sequence[int]], top: int) -> list[list[TokenLogprobs]]:
        """Log-probabilities of the tokens of every text; raises Busy where they do not fit."""
        return await self._answer(_Job(texts=texts, top=top))

    async def _answer(self, job: _Job) -> Any:
        with self._work:
            if self._stopping:
                raise Failed("the server is stopping")
            if sum(other.size for other in self._open) + job.size > self.max_outstanding:
                raise Busy(f"the queue is full ({self.max_outstanding} sequences)", retry_after_s=1)
            self._open.add(job)
            self._arrived.append(job)
            self._work.notify()
        try:
            return await asyncio.wrap_future(job.result)
        except asyncio.CancelledError:
            for rollout in job.rollouts:
                rollout.cancelled = True
            raise
        finally:
            with self._work:
                self._open.discard(job)

    def _run(self, sampler: Sampler) -> None:
        torch.set_num_threads(self._threads_each)  # of operations that this thread starts
        try:
            while self._take(sampler):
                with self._compute:
                    sampler.step()
        finally:
            crashed = not self._stopping
            self._fail_open()
            if crashed:
                self._on_death()

    def _take(self, sampler: Sampler) -> bool:
        """Wait for work and hand a fair share of it to the sampler; False when it is time to stop."""
        with self._work:
            self._work.wait_for(lambda: self._stopping or self._arrived or sampler.busy)
            share = -(-sum(job.size for job in self._open) // len(self._threads)) - sampler.load
            taken: list[_Job] = []
            while self._arrived and share > 0:
                taken.append(self._arrived.popleft())
                share -= taken[-1].size
            stopping = self._stopping
        for job in taken:
            for rollout in job.rollouts:
                sampler.add(rollout)
        self._score(sampler, [job for job in taken if job.texts])
        return not stopping

    def _score(self, sampler: Sampler, jobs: list[_Job]) -> None:
        """Score the texts of all jobs together."""
        if not jobs:
            return
        with self._compute:
            scores = iter(sampler.score([text for job in jobs for text in job.texts], max(j.top for j in jobs)))
        for job in jobs:
            job.result.set_result([next(scores) for _ in job.texts])

    def _fail_open(self) -> None:
        with self._work:
            self._stopping = True
            self._work.notify_all()
            for job in self._open:
                if not job.result.done():
                    job.result.set_exception(Failed("the server is stopping"))

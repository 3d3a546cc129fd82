"""Requests from many clients, sampled together by one thread per model, with a bound on how many wait.

A request that does not fit is refused at once (`Busy`); nothing queues without end. A client that goes away takes its
sequences with it.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

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
    """Runs a `Sampler` in its own thread for callers on an event loop."""

    def __init__(
        self, sampler: Sampler, compute: threading.Lock, *, max_outstanding: int, on_death: Callable[[], None]
    ) -> None:
        """Args:
        compute: held while computing; models of one process share it, so that they take turns on the cores.
        max_outstanding: sequences accepted and not finished, at most.
        on_death: called when the thread ends without having been told to.
        """
        self.model = sampler.model
        self.max_outstanding = max_outstanding
        self._sampler, self._compute, self._on_death = sampler, compute, on_death
        self._work = threading.Condition()
        self._arrived: list[_Job] = []
        self._open: set[_Job] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"sampler-{self.model.name}", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the step under way, fail what is open, end the thread."""
        with self._work:
            self._stopping = True
            self._work.notify()
        self._thread.join()

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

    def _run(self) -> None:
        try:
            while self._take():
                with self._compute:
                    self._sampler.step()
        finally:
            crashed = not self._stopping
            self._fail_open()
            if crashed:
                self._on_death()

    def _take(self) -> bool:
        """Wait for work and hand it to the sampler; False when it is time to stop."""
        with self._work:
            self._work.wait_for(lambda: self._stopping or self._arrived or self._sampler.busy)
            arrived, self._arrived = self._arrived, []
            stopping = self._stopping
        for job in arrived:
            for rollout in job.rollouts:
                self._sampler.add(rollout)
        self._score([job for job in arrived if job.texts])
        return not stopping

    def _score(self, jobs: list[_Job]) -> None:
        """Score the texts of all jobs together."""
        if not jobs:
            return
        with self._compute:
            scores = iter(self._sampler.score([text for job in jobs for text in job.texts], max(j.top for j in jobs)))
        for job in jobs:
            job.result.set_result([next(scores) for _ in job.texts])

    def _fail_open(self) -> None:
        with self._work:
            self._stopping = True
            for job in self._open:
                if not job.result.done():
                    job.result.set_exception(Failed("the server is stopping"))

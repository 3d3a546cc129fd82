"""Rules and judge as rewards for a training child, on a loopback port while it trains.

The form of request and answer is the trainer's, see `trainer.rewards.sources`. The path of the URL holds a secret, so
that no other process of the machine can have the judge asked.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from constitution.document import Principle
from critic.concurrency import together
from critic.judge import Usage
from critic.labelling import Labeller
from solon.errors import ModelUnavailable
from solon.records import Completion, Prompt, Status
from solon.seeds import counter_seed

Failed = Literal["failed"]
Scorer = Callable[[Prompt, Completion], Coroutine[Any, Any, float | Failed | None]]
"""The score of a completion; None where it does not apply, `failed` where it could not be had."""


Comparer = Callable[[Prompt, Completion, Completion], Coroutine[Any, Any, float | Failed | None]]
"""P(the first completion is better than the second); as above."""


class Item(BaseModel):
    """A completion to score, or to compare with another."""

    prompt: Prompt
    completion: Completion
    against: Completion | None = None


class Asked(BaseModel):
    """Completions to score by one of the rewards."""

    reward: str
    items: list[Item]


class Answered(BaseModel):
    """One score per item, in order."""

    scores: list[float | Failed | None]


def scorers(labeller: Labeller, drawn: int | None = None) -> dict[str, Scorer]:
    """What a recipe's terms `rules` and `judge` ask.

    Args:
        drawn: principles that the judge marks under, drawn for each prompt, so that all its completions meet the same
            ones; None takes all that apply.
    """

    async def rules(prompt: Prompt, completion: Completion) -> float | Failed | None:
        """The rules' reward; it fails where the judge left a question that matters unanswered."""
        (score,) = await labeller.rule_scores(prompt, (completion,), Usage())
        if score is None:
            return None
        return "failed" if None in score.propositions.values() else score.reward

    async def judge(prompt: Prompt, completion: Completion) -> float | Failed | None:
        """The judge's marks under the principles that apply, by their weights (direct RLAIF, arXiv:2309.00267)."""
        principles = _drawn(labeller.principles(prompt), drawn, labeller.seed, prompt.id)
        if labeller.judge is None or not principles:
            return None
        marks = await together(labeller.judge.mark(prompt, completion, principle) for principle in principles)
        known = [(p.weight, m.score) for p, m in zip(principles, marks, strict=True) if m.status is Status.OK]
        total = sum(weight for weight, _ in known)
        if len(known) < len(principles) or total <= 0:
            return "failed"
        return sum(weight * score for weight, score in known if score is not None) / total

    return {"rules": rules, "judge": judge}


def _drawn(principles: Sequence[Principle], count: int | None, seed: int, prompt: str) -> Sequence[Principle]:
    """So many of the principles as a draw by seed and prompt has them; all where there are no more."""
    if count is None or count >= len(principles):
        return principles
    return sorted(principles, key=lambda principle: counter_seed(seed, "marks", prompt, principle.id))[:count]


def reward_app(scorers: Mapping[str, Scorer], path: str, comparers: Mapping[str, Comparer]) -> FastAPI:
    """The application that scores."""
    app = FastAPI(openapi_url=None)

    @app.post(path)
    async def score(asked: Asked) -> Answered:
        """One score per item."""
        return Answered(scores=list(await together(one(asked.reward, item) for item in asked.items)))

    async def one(reward: str, item: Item) -> float | Failed | None:
        if item.against is not None:
            return await comparers[reward](item.prompt, item.completion, item.against)
        return await scorers[reward](item.prompt, item.completion)

    return app


class _Guest(uvicorn.Server):
    """A server in a process whose signals are somebody else's."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Nothing is captured."""
        yield


class RewardService:
    """The service, running in this process. Use as `async with RewardService(scorers) as service`."""

    def __init__(self, scorers: Mapping[str, Scorer], comparers: Mapping[str, Comparer] | None = None) -> None:
        path = f"/{secrets.token_urlsafe(24)}"
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            reward_app(scorers, path, comparers or {}), log_level="critical", lifespan="off", access_log=False
        )
        self._server = _Guest(config)
        self._task: asyncio.Task[None] | None = None
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{path}"
        """Where completions are posted."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="reward service")
        while not self._server.started:
            if self._task.done():
                raise ModelUnavailable("the reward service did not start", remedy="see the log")
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()

"""The sources of a reward as a configuration names them: reward models in this process, services over HTTP.

A service is asked by POST and answers with one score per item, in order:

    {"reward": "judge", "items": [{"prompt": {...}, "completion": {...}}, ...]}     `solon.records` as JSON
    with "against": {...} in an item, its score is the probability that its completion is better than that one
    {"scores": [0.25, null, "failed"]}                   null: does not apply; "failed": could not be scored
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from solon.endpoint import Endpoint, RequestRejected, RetryPolicy
from solon.errors import ModelUnavailable
from solon.records import Completion, Prompt
from trainer.config import GateSource, RewardModelSource, RewardSource, ServiceSource
from trainer.reward.groups import domain_of
from trainer.reward.scoring import RewardModel
from trainer.rewards.gate import gated, whitened
from trainer.rewards.mix import FAILED, Item, Source


def opened(sources: Sequence[RewardSource], field: str = "rewards") -> list[Source]:
    """The sources, reward models loaded; NotFound or InvalidInput names the one that cannot be had.

    Args:
        field: of the configuration that holds them.
    """
    return [_opened(source, f"{field}.{index}.path") for index, source in enumerate(sources)]


def _opened(source: RewardSource, field: str) -> Source:
    if isinstance(source, ServiceSource):
        return Service(source)
    if isinstance(source, GateSource):
        helpfulness, safety = (
            RewardModel.load(path, how=source.combine, penalty=source.penalty, field=field)
            for path in (source.helpfulness, source.safety)
        )
        return Gate(source, helpfulness, safety)
    model = RewardModel.load(source.path, how=source.combine, penalty=source.penalty, field=field)
    return Trained(source, model)


@dataclass(frozen=True)
class Trained:
    """A reward model or an ensemble."""

    source: RewardModelSource
    model: RewardModel

    @property
    def name(self) -> str:
        """In the metrics."""
        return self.source.name

    @property
    def weight(self) -> float:
        """In the sum."""
        return self.source.weight

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """Rewards in standard deviations; FAILED for a completion that the model cannot read."""
        return [FAILED if score is None else score for score in self.model.scores(items)]


def absolute(sources: Sequence[Source]) -> list[Source]:
    """The sources with scores that can be compared between batches: nothing is whitened."""
    return [
        replace(each, source=each.source.model_copy(update={"whiten": False})) if isinstance(each, Gate) else each
        for each in sources
    ]


@dataclass(frozen=True)
class Gate:
    """Two reward models, of which one decides; see `trainer.rewards.gate`."""

    source: GateSource
    helpfulness: RewardModel
    safety: RewardModel

    @property
    def name(self) -> str:
        """In the metrics."""
        return self.source.name

    @property
    def weight(self) -> float:
        """In the sum."""
        return self.source.weight

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """One reward per item; FAILED for a completion that one of the models cannot read."""
        source = self.source
        both = zip(self.helpfulness.log_odds(items), self.safety.log_odds(items), strict=True)
        known = [(i, h, s) for i, (h, s) in enumerate(both) if h is not None and s is not None]
        about_safety = [domain_of(items[i][0]) in source.safety_domains for i, _, _ in known]
        decided = gated([h for _, h, _ in known], [s for _, _, s in known], about_safety, source.threshold)
        rewards = whitened(decided) if source.whiten else decided
        found: list[float | None] = [FAILED] * len(items)
        for (i, _, _), reward in zip(known, rewards, strict=True):
            found[i] = reward
        return found


class _Answer(BaseModel):
    scores: list[float | Literal["failed"] | None]


@dataclass(frozen=True)
class Service:
    """A scorer behind a URL; a few requests at once, with the client's retries."""

    source: ServiceSource

    @property
    def name(self) -> str:
        """In the metrics."""
        return self.source.name

    @property
    def weight(self) -> float:
        """In the sum."""
        return self.source.weight

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """One score per item; FAILED for all items of a request that went wrong. Raises ModelUnavailable."""
        return asyncio.run(self._all([_asked(prompt, completion) for prompt, completion in items]))

    def preferences(self, items: Sequence[Item], against: Sequence[Completion]) -> list[float | None]:
        """P(each item's completion is better than the one of the same place); as above."""
        rows = [_asked(*item, other) for item, other in zip(items, against, strict=True)]
        return asyncio.run(self._all(rows))

    async def _all(self, items: Sequence[dict[str, Any]]) -> list[float | None]:
        source = self.source
        endpoint = Endpoint(source.name, source.url, None, source.max_concurrency, source.timeout_s, RetryPolicy())
        parts = [items[i : i + source.batch_size] for i in range(0, len(items), source.batch_size)]
        try:
            found = await asyncio.gather(*(self._some(endpoint, part) for part in parts))
        finally:
            await endpoint.aclose()
        return [score for scores in found for score in scores]

    async def _some(self, endpoint: Endpoint, items: Sequence[dict[str, Any]]) -> list[float | None]:
        try:
            body = await endpoint.post(self.source.url, {"reward": self.source.name, "items": items})
        except RequestRejected:
            return [FAILED] * len(items)
        try:
            scores = _Answer.model_validate_json(body).scores
        except ValidationError as error:
            raise ModelUnavailable(
                f"the reward service {self.name!r} answers with something else than scores",
                remedy="see trainer/rewards/sources.py for the form",
            ) from error
        if len(scores) != len(items):
            raise ModelUnavailable(
                f"the reward service {self.name!r} answered {len(scores)} scores for {len(items)} items",
                remedy="answer one score per item, in order",
            )
        return [FAILED if score == "failed" else score for score in scores]


def _asked(prompt: Prompt, completion: Completion, against: Completion | None = None) -> dict[str, Any]:
    """An item as it is sent."""
    asked = {"prompt": prompt.model_dump(mode="json"), "completion": completion.model_dump(mode="json")}
    return asked if against is None else asked | {"against": against.model_dump(mode="json")}

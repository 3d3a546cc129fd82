"""Sampling and scoring: what a step learns from."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from solon.errors import TrainingFailed
from solon.records import Completion, Prompt
from solon.seeds import counter_seed
from trainer import processes
from trainer.config import PPOConfig
from trainer.decoding import Sampling
from trainer.language_model import LanguageModel
from trainer.ppo.networks import Batch, Networks
from trainer.rewards.mix import Rewards, Source
from trainer.rewards.shares import mixed_by_all
from trainer.sampling import Generation, Request, Sampler


@dataclass(frozen=True)
class Experience:
    """The episodes of one step. Tensors are [episode, response token] and on the device unless said otherwise."""

    rows: list[tuple[list[int], list[int]]]
    """Prompt and response ids of each episode."""
    logps: Tensor
    """Of the policy that sampled."""
    ref_logps: Tensor
    values: Tensor
    mask: Tensor
    scores: Tensor
    """[episode]: the sum of all sources, before penalty and clipping."""
    finished: Tensor
    """Bool, [episode]: ended of its own accord."""
    metrics: dict[str, float]
    costs: Tensor | None = None
    """[episode]: the sum of all cost sources; None where nothing costs anything."""
    cost_values: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def as_state(self) -> dict[str, Any]:
        """Plain values and tensors for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Prompts:
    """Which prompts a step asks: each once per pass, in an order drawn anew for each pass. It needs no memory."""

    def __init__(self, prompts: Sequence[tuple[Prompt, list[int]]], seed: int) -> None:
        self._prompts, self._seed = prompts, seed

    def take(self, step: int, count: int) -> list[tuple[Prompt, list[int]]]:
        """The prompts of step `step` (from 0) when every step takes `count`."""
        return [self._at(place) for place in range(step * count, (step + 1) * count)]

    def _at(self, place: int) -> tuple[Prompt, list[int]]:
        turn, index = divmod(place, len(self._prompts))
        generator = torch.Generator().manual_seed(counter_seed(self._seed, "prompts", turn))
        return self._prompts[int(torch.randperm(len(self._prompts), generator=generator)[index])]


class Rollouts:
    """Samples from the actor as it is, and scores what it wrote."""

    def __init__(
        self,
        model: LanguageModel,
        networks: Networks,
        sources: Sequence[Source],
        prompts: Prompts,
        config: PPOConfig,
        costs: Sequence[Source] = (),
    ) -> None:
        """Args:
        model: the actor's network with its tokenizer.
        costs: what episodes cost, where the configuration bounds it.
        """
        self._costs = costs
        self._sampler, self._model = Sampler(model, max_rows=config.episodes), model
        self._networks, self._sources, self._prompts, self._config = networks, sources, prompts, config

    def collect(self, step: int) -> Experience:
        """The experience of a step; TrainingFailed where too many episodes have no reward."""
        began = time.monotonic()
        asked = self._prompts.take(step, self._config.episodes)
        written = self._write(asked, step)
        sampled = time.monotonic()
        items = [
            (prompt, Completion(text=one.text, finish_reason=one.finish_reason))
            for (prompt, _), one in zip(asked, written, strict=True)
        ]
        rewards, costs = mixed_by_all(self._sources, items), mixed_by_all(self._costs, items)
        kept = [i for i, total in enumerate(rewards.total) if total is not None]
        if self._costs:
            kept = [i for i in kept if costs.total[i] is not None]
        self._require_enough(len(kept), step)
        rows = [(asked[i][1], list(written[i].tokens)) for i in kept]
        metrics = {f"reward_{name}": mean for name, mean in rewards.means().items()}
        metrics["failed"] = 1 - len(kept) / len(asked)
        metrics |= {f"cost_{name}": mean for name, mean in costs.means().items()}
        scores = self._totals(rewards, kept)
        finished = torch.tensor([written[i].finish_reason == "stop" for i in kept], device=self._model.device)
        found, cost_values = self._said(rows)
        metrics |= {"seconds_sample": sampled - began, "seconds_score": time.monotonic() - sampled}
        paid = self._totals(costs, kept) if self._costs else None
        return Experience(rows, *found, scores, finished, metrics, paid, cost_values)

    def _write(self, asked: Sequence[tuple[Prompt, list[int]]], step: int) -> list[Generation]:
        """A completion of each prompt; each process writes every n-th, all know all of them."""
        count = processes.count()
        own = range(processes.rank(), len(asked), count)
        parts = processes.gathered(self._sampler.sample([self._request(step, i, asked[i][1]) for i in own]))
        return [parts[i % count][i // count] for i in range(len(asked))]

    def _totals(self, rewards: Rewards, kept: Sequence[int]) -> Tensor:
        return torch.tensor([rewards.total[i] for i in kept], device=self._model.device)

    def _request(self, step: int, index: int, ids: list[int]) -> Request:
        config = self._config
        seed = counter_seed(config.seed, "rollout", step)
        return Request(tuple(ids), Sampling(config.max_tokens, config.temperature, seed=seed, index=index))

    def _require_enough(self, kept: int, step: int) -> None:
        if kept < max(2, (1 - self._config.max_failed) * self._config.episodes):
            raise TrainingFailed(
                f"only {kept} of {self._config.episodes} episodes of step {step + 1} have a reward",
                remedy="see why the reward sources fail, or raise max_failed",
            )

    @torch.no_grad()
    def _said(
        self, rows: Sequence[tuple[list[int], list[int]]]
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor | None]:
        """Log-probabilities of actor and reference, values and mask; and the values of costs, where there are any."""
        shape = (len(rows), max(len(response) for _, response in rows))
        where = self._model.device
        logps, ref_logps, values, costs = (torch.zeros(shape, device=where) for _ in range(4))
        mask = torch.zeros(shape, dtype=torch.bool, device=where)
        parts = by_length(rows, range(len(rows)), self._config.micro_batch)
        for places in parts[processes.rank() :: processes.count()]:
            batch = Batch.of([rows[i] for i in places])
            width = batch.mask.shape[1]
            said = self._networks.say(batch)
            logps[places, :width] = said.logps
            ref_logps[places, :width] = self._networks.reference_logps(batch)
            values[places, :width] = said.values if said.values is not None else self._networks.values(batch)
            if self._costs:
                costs[places, :width] = self._networks.cost_values(batch)
            mask[places, :width] = batch.mask
        logps, ref_logps, values, costs = map(processes.total, (logps, ref_logps, values, costs))
        mask = processes.total(mask.to(torch.uint8)).bool()
        return (logps, ref_logps, values, mask), costs if self._costs else None


def by_length(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], places: Sequence[int] | range, size: int
) -> list[list[int]]:
    """The places in parts of at most `size`, rows of similar length together."""
    order = sorted(places, key=lambda i: (len(rows[i][0]) + len(rows[i][1]), i))
    return [order[start : start + size] for start in range(0, len(order), size)]

"""Sampling and scoring: what a step learns from."""

import time
from collections.abc import Callable, Sequence
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
from trainer.ppo.mismatch import by_episode, mismatch, require_likeness
from trainer.ppo.networks import Batch, Networks
from trainer.ppo.served import Served
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
        served: Served | None = None,
    ) -> None:
        """Args:
        model: the actor's network with its tokenizer.
        costs: what episodes cost, where the configuration bounds it.
        served: who writes the completions; None: the actor's network itself.
        """
        self._costs = costs
        self._served, self._model = served, model
        self._writer = served or Sampler(model, max_rows=config.episodes)
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
        if self._served is not None:
            metrics |= self._likeness(rows, [written[i] for i in kept], found)
        metrics |= {"seconds_sample": sampled - began, "seconds_score": time.monotonic() - sampled}
        paid = self._totals(costs, kept) if self._costs else None
        return Experience(rows, *found, scores, finished, metrics, paid, cost_values)

    def _write(self, asked: Sequence[tuple[Prompt, list[int]]], step: int) -> list[Generation]:
        """A completion of each prompt; each process writes every n-th, all know all of them."""
        if self._served is not None:
            self._served.renew(step)
        count = processes.count()
        own = range(processes.rank(), len(asked), count)
        parts = processes.gathered(self._writer.sample([self._request(step, i, asked[i][1]) for i in own]))
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

    def _likeness(
        self,
        rows: Sequence[tuple[list[int], list[int]]],
        written: Sequence[Generation],
        found: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> dict[str, float]:
        """Metrics of how like the policy its server is; TrainingFailed where it is not."""
        own, reference, _, mask = found
        if self._config.temperature != 1.0:  # a server tells probabilities before it divides by the temperature
            own, reference = self._of_all(rows, self._networks.plain_logps, 2)
        served = by_episode([tuple(each.logprob or 0.0 for each in one.logprobs) for one in written], own)
        metrics = mismatch(served, own, reference, mask)
        if (server := self._config.rollouts) is not None:
            require_likeness(metrics, server.max_mismatch, server.model)
        return metrics

    def _said(
        self, rows: Sequence[tuple[list[int], list[int]]]
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor | None]:
        """Log-probabilities of actor and reference, values and mask; and the values of costs, where there are any."""

        def say(batch: Batch) -> Sequence[Tensor]:
            said = self._networks.say(batch)
            values = said.values if said.values is not None else self._networks.values(batch)
            costs = (self._networks.cost_values(batch),) if self._costs else ()
            return (said.logps, self._networks.reference_logps(batch), values, *costs)

        logps, ref_logps, values, *costs = self._of_all(rows, say, 4 if self._costs else 3)
        lengths = torch.tensor([len(response) for _, response in rows], device=self._model.device)
        mask = torch.arange(logps.shape[1], device=self._model.device) < lengths[:, None]
        return (logps, ref_logps, values, mask), costs[0] if costs else None

    @torch.no_grad()
    def _of_all(
        self, rows: Sequence[tuple[list[int], list[int]]], say: Callable[[Batch], Sequence[Tensor]], count: int
    ) -> list[Tensor]:
        """The `count` things that `say` says of a batch, each [episode, response token] for all rows on all processes,
        of which each asks for some batches."""
        shape = (len(rows), max(len(response) for _, response in rows))
        found = [torch.zeros(shape, device=self._model.device) for _ in range(count)]
        parts = by_length(rows, range(len(rows)), self._config.micro_batch)
        for places in parts[processes.rank() :: processes.count()]:
            batch = self._networks.batch([rows[i] for i in places])
            for into, said in zip(found, say(batch), strict=True):
                into[places, : batch.mask.shape[1]] = said
        return [processes.total(each) for each in found]


def by_length(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], places: Sequence[int] | range, size: int
) -> list[list[int]]:
    """The places in parts of at most `size`, rows of similar length together."""
    order = sorted(places, key=lambda i: (len(rows[i][0]) + len(rows[i][1]), i))
    return [order[start : start + size] for start in range(0, len(order), size)]

"""From an experience to optimiser steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import cast

import torch
from torch import Tensor, nn

from solon.errors import TrainingFailed
from solon.seeds import counter_seed
from trainer import processes
from trainer.config import PPOConfig
from trainer.ppo.kl import kl_estimate
from trainer.ppo.losses import policy_loss, value_loss
from trainer.ppo.networks import Networks
from trainer.ppo.rollout import Experience, by_length

_LEAST_RATE = 0.1  # of the peak, where a linear schedule ends


@dataclass(frozen=True)
class Lesson:
    """An experience with what is to be learnt from it; tensors are [episode, response token]."""

    experience: Experience
    advantages: Tensor
    returns: Tensor
    cost_returns: Tensor | None = None


@dataclass
class _Pass:
    """Sums over the micro-batches of one minibatch."""

    policy: float = 0.0
    value: float = 0.0
    cost_value: float = 0.0
    clipped: int = 0
    values_clipped: int = 0
    kl: float = 0.0
    """Nats between the policy that sampled and the one in training."""
    entropy: float = 0.0
    most_off: float = 0.0
    """Largest |ratio - 1|."""

    def of_all(self) -> "_Pass":
        """The same over all processes."""
        parts = processes.gathered(self)
        names = [each.name for each in fields(self) if each.name != "most_off"]
        sums = {name: sum(getattr(part, name) for part in parts) for name in names}
        return _Pass(**sums, most_off=max(part.most_off for part in parts))


@dataclass
class _Log:
    """What the minibatches of a step said."""

    means: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def add(self, **values: float) -> None:
        """One minibatch."""
        for name, value in values.items():
            self.means.setdefault(name, []).append(value)

    def mean(self) -> dict[str, float]:
        """Of each name."""
        return {name: fmean(values) for name, values in self.means.items()}


class Update:
    """The optimisers of a run, and what they do with a lesson."""

    def __init__(self, networks: Networks, config: PPOConfig, ptx: Sequence[tuple[list[int], list[int]]] = ()) -> None:
        self._networks, self._config, self._ptx = networks, config, ptx
        critics = config.critic_learning_rate or config.learning_rate
        peaks = {"actor": config.learning_rate, "critic": critics, "cost_critic": critics}
        self._peaks = peaks
        self._parameters = {name: [p for _, p in named] for name, named in networks.trained().items()}
        self.optimisers = {
            name: torch.optim.AdamW(parameters, lr=peaks[name], betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0)
            for name, parameters in self._parameters.items()
        }

    def learn(self, lesson: Lesson, step: int) -> dict[str, float]:
        """Metrics of all passes over the lesson; TrainingFailed when something is not finite."""
        config, log = self._config, _Log()
        rate = learning_rate(config, step)
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rate * self._peaks[name]
        stopped, first_ratio = 0.0, 0.0
        for number, places in enumerate(self._minibatches(len(lesson.experience), step)):
            seen = self._accumulate(lesson, places, step, number)
            first_ratio = seen.most_off if number == 0 else first_ratio
            tokens = int(lesson.experience.mask[places].sum())
            kl = seen.kl / len(places)
            if config.kl.update_kl_per_sequence is not None and kl > config.kl.update_kl_per_sequence:
                stopped = 1.0
                break
            norms = self._step(step)
            log.add(
                policy_loss=seen.policy / tokens,
                value_loss=seen.value / tokens,
                clip_share=seen.clipped / tokens,
                value_clip_share=seen.values_clipped / tokens,
                update_kl=kl,
                **({"cost_value_loss": seen.cost_value / tokens} if lesson.cost_returns is not None else {}),
                **({"entropy": seen.entropy / tokens} if config.entropy_weight else {}),
                **{f"grad_norm_{name}": norm for name, norm in norms.items()},
            )
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        told = {"learning_rate": rate * config.learning_rate, "first_ratio_off": first_ratio, "passes_cut": stopped}
        return log.mean() | told

    def _minibatches(self, episodes: int, step: int) -> list[list[int]]:
        """Places of the episodes, pass after pass, in an order that depends on the seed and the step only."""
        found: list[list[int]] = []
        for turn in range(self._config.epochs):
            generator = torch.Generator().manual_seed(counter_seed(self._config.seed, "minibatch", step, turn))
            order = cast(list[int], torch.randperm(episodes, generator=generator).tolist())
            found += [order[i : i + self._config.minibatch] for i in range(0, episodes, self._config.minibatch)]
        return found

    def _accumulate(self, lesson: Lesson, places: list[int], step: int, number: int) -> _Pass:
        """Gradients of a minibatch, as the sum over its micro-batches."""
        experience, seen = lesson.experience, _Pass()
        tokens = int(experience.mask[places].sum())
        with self._networks.learning():
            own = places[processes.rank() :: processes.count()]
            for part in by_length(experience.rows, own, self._config.micro_batch):
                self._backward(lesson, part, tokens, seen, train_actor=step >= self._config.critic_warmup)
            if self._config.ptx_weight and step >= self._config.critic_warmup:
                self._remember(len(places), step, number)
        self._sum_gradients()
        return seen.of_all()

    def _sum_gradients(self) -> None:
        """The gradient of a minibatch on every process: losses are sums over its tokens, so parts add up."""
        if processes.count() == 1:
            return
        parameters = [p for named in self._parameters.values() for p in named]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = processes.total(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = summed.view_as(parameter).clone()

    def _backward(self, lesson: Lesson, places: list[int], tokens: int, seen: _Pass, *, train_actor: bool) -> None:
        config, experience = self._config, lesson.experience
        batch = self._networks.batch([experience.rows[i] for i in places])
        mask, width = batch.mask, batch.mask.shape[1]
        old_logps, old_values, advantages, returns = (
            values[places, :width]
            for values in (experience.logps, experience.values, lesson.advantages, lesson.returns)
        )
        said = self._networks.say(batch, entropy=bool(config.entropy_weight))
        policy = policy_loss(said.logps, old_logps, advantages, mask, config.clip)
        loss = policy.loss / tokens
        if said.entropy is not None:
            loss = loss - config.entropy_weight * said.entropy.sum() / tokens
            seen.entropy += float(said.entropy.detach().sum())
        values = said.values
        if values is None:
            if train_actor:
                _finite(loss).backward()
            values, weight, loss = self._networks.values(batch), 1.0, 0.0
        else:
            weight = config.value_weight
        value = value_loss(values, old_values, returns, mask, config.value_clip)
        _finite(loss + weight * value.loss / tokens).backward()
        if lesson.cost_returns is not None and experience.cost_values is not None:
            returns = lesson.cost_returns[places, :width]
            old = experience.cost_values[places, :width]
            cost = value_loss(self._networks.cost_values(batch), old, returns, mask, config.value_clip)
            _finite(cost.loss / tokens).backward()
            seen.cost_value += cost.loss.item()
        with torch.no_grad():
            off = (said.logps - old_logps) * mask
            seen.kl += float(kl_estimate(old_logps * mask, said.logps.detach() * mask, "k3").sum())
            seen.most_off = max(seen.most_off, float(torch.expm1(off).abs().max()))
        seen.policy += policy.loss.item()
        seen.value += value.loss.item()
        seen.clipped += int(policy.clipped)
        seen.values_clipped += int(value.clipped)

    def _remember(self, rows: int, step: int, number: int) -> None:
        """Add the gradient of text that the policy shall stay good at, InstructGPT's pretraining mix."""
        start = counter_seed(self._config.seed, "ptx", step, number)
        chosen = [self._ptx[counter_seed(start, i) % len(self._ptx)] for i in range(rows)]
        tokens = sum(len(completion) for _, completion in chosen)
        own = range(processes.rank(), rows, processes.count())
        for part in by_length(chosen, own, self._config.micro_batch):
            said = self._networks.say(self._networks.batch([chosen[i] for i in part]))
            _finite(-self._config.ptx_weight * said.logps.sum() / tokens).backward()

    def _step(self, step: int) -> dict[str, float]:
        """Move the weights; the norm of each network's gradient before it was clipped."""
        norms: dict[str, float] = {}
        for name, optimiser in self.optimisers.items():
            norm = nn.utils.clip_grad_norm_(self._parameters[name], self._config.max_grad_norm)
            if not torch.isfinite(norm):
                raise TrainingFailed(
                    f"the gradient became {norm.item()} in step {step + 1}", remedy="lower learning_rate"
                )
            norms[name] = norm.item()
            if name != "actor" or step >= self._config.critic_warmup:
                optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return norms


def learning_rate(config: PPOConfig, step: int) -> float:
    """The share of the peak at step `step` (from 0): it rises over the warm-up and falls as the schedule says."""
    rise = math.ceil(config.warmup * config.steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    if config.schedule == "constant" or config.steps <= rise + 1:
        return 1.0
    return 1.0 - (1.0 - _LEAST_RATE) * (step - rise) / (config.steps - rise - 1)


def _finite(loss: Tensor) -> Tensor:
    if not torch.isfinite(loss):
        raise TrainingFailed(f"the loss became {loss.item()}", remedy="lower learning_rate")
    return loss

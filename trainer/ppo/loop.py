"""A PPO run: sample, score, train, adapt the price of KL, keep a checkpoint; step by step."""

import math
import time
from typing import Literal

from torch import Tensor

from solon.errors import TrainingFailed
from trainer.config import PPOConfig
from trainer.monitor.watch import Watch
from trainer.ppo.advantages import explained_variance, gae, token_rewards, whitened
from trainer.ppo.kl import kl_estimate
from trainer.ppo.prices import Prices
from trainer.ppo.rollout import Experience, Rollouts
from trainer.ppo.state import Metrics, States
from trainer.ppo.update import Lesson, Update
from trainer.progress import Progress

Ending = Literal["all steps", "kl", "alarm"]


class PPO:
    """A run over the networks, from wherever its checkpoints leave off."""

    def __init__(
        self,
        config: PPOConfig,
        rollouts: Rollouts,
        update: Update,
        prices: Prices,
        states: States | None,
        watch: Watch | None = None,
    ) -> None:
        self._config, self._rollouts, self._update = config, rollouts, update
        self._prices, self._states, self._watch = prices, states, watch

    def run(self, progress: Progress) -> Ending:
        """Train to the end; why it ended. `progress` hears of all steps, those before a stop included."""
        config = self._config
        done: Metrics = self._states.restore() if self._states is not None else []
        for number, metrics in enumerate(done, start=1):
            progress(number, config.steps, metrics)
        if self._watch is not None:
            self._watch.begin()
        for step in range(len(done), config.steps):
            if ending := self._ending(done):
                return ending
            done.append(self._step(step))
            if self._watch is not None:
                done[-1] |= self._watch.after(step + 1, last=step + 1 == config.steps)
            if self._states is not None and (step + 1) % config.save_every == 0:
                self._states.save(done)
            progress(step + 1, config.steps, done[-1])
        return self._ending(done) or "all steps"

    def _ending(self, done: Metrics) -> Ending | None:
        """Why no step is to follow those that are done; None where one may."""
        if self._watch is not None and self._watch.stopped:
            return "alarm"
        return "kl" if done and _too_far(done[-1], self._config) else None

    def _step(self, step: int) -> dict[str, float]:
        """The metrics of one step."""
        experience = self._experience(step)
        lesson, metrics = prepared(experience, self._prices, self._config)
        began = time.monotonic()
        metrics |= self._update.learn(lesson, step)
        metrics["seconds_update"] = time.monotonic() - began
        if step >= self._config.critic_warmup:  # before, the policy stays where it is and has no KL to price
            self._prices.kl.observe(metrics["kl"], len(experience))
        if experience.costs is not None:
            self._prices.cost.observe(experience.costs.tolist())
        return metrics

    def _experience(self, step: int) -> Experience:
        kept = self._states.experience(step) if self._states is not None else None
        if kept is not None:
            return kept
        experience = self._rollouts.collect(step)
        if self._states is not None:
            self._states.save_experience(experience, step)
        return experience


def prepared(experience: Experience, prices: Prices, config: PPOConfig) -> tuple[Lesson, dict[str, float]]:
    """Advantages and returns of an experience at the prices, and what is to be said of it."""
    mask, beta = experience.mask, prices.kl.beta
    scores = _clipped(experience.scores, config) - config.missing_eos_penalty * (~experience.finished).float()
    kl = kl_estimate(experience.logps, experience.ref_logps, config.kl.estimator) * mask
    rewards = token_rewards(scores, kl, mask, beta)
    if config.whiten_rewards:
        rewards = whitened(rewards, mask, shift=False)
    advantages, returns = gae(rewards, experience.values, mask, config.gamma, config.gae_lambda)
    metrics = _metrics(experience, rewards, returns, beta)
    cost_returns: Tensor | None = None
    if experience.costs is not None and experience.cost_values is not None:
        costs = token_rewards(_clipped(experience.costs, config), -kl, mask, beta)
        dear, cost_returns = gae(costs, experience.cost_values, mask, config.gamma, config.gae_lambda)
        price = prices.cost.multiplier
        advantages = (advantages - price * dear) / (1 + price)
        metrics |= {"cost": float(experience.costs.mean()), "lambda": price}
        metrics["cost_explained_variance"] = explained_variance(experience.cost_values, cost_returns, mask)
    if not all(math.isfinite(value) for value in metrics.values()):
        raise TrainingFailed("a metric is not finite", remedy="lower learning_rate")
    return Lesson(experience, whitened(advantages, mask), returns, cost_returns), metrics


def _clipped(scores: Tensor, config: PPOConfig) -> Tensor:
    return scores if config.clip_score is None else scores.clamp(-config.clip_score, config.clip_score)


def _metrics(experience: Experience, rewards: Tensor, returns: Tensor, beta: float) -> dict[str, float]:
    mask = experience.mask
    k1 = (experience.logps - experience.ref_logps) * mask
    k3 = kl_estimate(experience.logps, experience.ref_logps, "k3") * mask
    return {
        "reward": float(experience.scores.mean()),
        "objective": float(rewards.sum(1).mean()),
        "kl": float(k1.sum(1).mean()),
        "kl_k3": float(k3.sum(1).mean()),
        "beta": beta,
        "tokens": float(mask.sum(1).float().mean()),
        "unfinished": float((~experience.finished).float().mean()),
        "surprise": float(-(experience.logps * mask).sum() / mask.sum()),
        "explained_variance": explained_variance(experience.values, returns, mask),
        **experience.metrics,
    }


def _too_far(metrics: dict[str, float], config: PPOConfig) -> bool:
    limit = config.kl.stop_at_kl_per_sequence
    return limit is not None and metrics["kl"] > limit

"""lambda, the price of the cost: it rises while the mean cost of the latest episodes is above what is allowed.

    advantage = (A_reward - lambda A_cost) / (1 + lambda)
    ln lambda <- ln lambda + rate * lambda * (mean cost - threshold)

Reward and cost both carry the KL term, the cost with the opposite sign, so that a nat costs beta whatever lambda is.

Source: Dai et al. 2023, arXiv:2310.12773, section 3.2 and its code; there each carries half of the KL term.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from trainer.config.ppo import CostControl


class Lagrangian:
    """The price of the cost of a run."""

    def __init__(self, control: CostControl) -> None:
        self._control = control
        self._log = math.log(control.multiplier)
        self._costs: list[float] = []

    @property
    def multiplier(self) -> float:
        """lambda, above 0."""
        return math.exp(self._log)

    @property
    def mean_cost(self) -> float | None:
        """Of the latest episodes; None before the first."""
        return fmean(self._costs) if self._costs else None

    def observe(self, costs: Sequence[float]) -> None:
        """Move lambda by what the episodes of a step cost."""
        control = self._control
        self._costs = [*self._costs, *costs][-control.window :]
        excess = fmean(self._costs) - control.threshold
        moved = self._log + control.learning_rate * self.multiplier * excess
        self._log = min(moved, math.log(control.max_multiplier))

    def as_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"log_multiplier": self._log, "costs": self._costs}

    def restore(self, state: dict[str, Any]) -> None:
        """Be as when `as_state` gave this."""
        self._log, self._costs = state["log_multiplier"], list(state["costs"])

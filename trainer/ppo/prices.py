"""What a run pays for: distance from the reference, and where it is bounded, cost."""

from dataclasses import dataclass
from typing import Any

from trainer.config import PPOConfig
from trainer.ppo.constraint import Lagrangian
from trainer.ppo.kl import KLPrice


@dataclass(frozen=True)
class Prices:
    """The prices of a run; they move from step to step and belong in its checkpoints."""

    kl: KLPrice
    cost: Lagrangian

    @classmethod
    def start(cls, config: PPOConfig) -> "Prices":
        """The prices at the beginning of a run."""
        return cls(KLPrice.start(config.kl), Lagrangian(config.constraint))

    def as_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"beta": self.kl.beta, "constraint": self.cost.as_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Be as when `as_state` gave this."""
        self.kl.beta = state["beta"]
        self.cost.restore(state["constraint"])

"""The divergence of the policy from its reference, token by token, and what it costs."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainer.config.ppo import KLControl

_MOST_CHANGE = 0.2  # of beta by one update, where the batch is as large as the horizon


def kl_estimate(logps: Tensor, ref_logps: Tensor, estimator: Literal["k1", "k3"]) -> Tensor:
    """Nats of each sampled token, as `estimator` has it; sums over a sequence estimate its KL(policy || reference).

    k1 = ln pi - ln ref is unbiased and may be negative; k3 = exp(-k1) - 1 + k1 is unbiased and never negative.

    Source: Schulman 2020, "Approximating KL divergence".
    """
    k1 = logps - ref_logps
    return k1 if estimator == "k1" else torch.expm1(-k1) + k1


@dataclass
class KLPrice:
    """beta, the price of one nat: fixed, or moved so that the KL per sequence comes to its target.

    Source: Ziegler et al. 2019, arXiv:1909.08593, section 2.2. The target is a sum over the sequence, as there; a mean
    per token is another quantity, smaller by the length.
    """

    control: KLControl
    beta: float

    @classmethod
    def start(cls, control: KLControl) -> "KLPrice":
        """The price at the beginning of a run."""
        return cls(control, control.beta)

    def observe(self, kl_per_sequence: float, episodes: int) -> None:
        """Adapt to the mean KL of `episodes` sequences, in nats; more than the horizon count as the horizon."""
        target = self.control.target_kl_per_sequence
        if target is None:
            return
        error = max(-_MOST_CHANGE, min(_MOST_CHANGE, kl_per_sequence / target - 1))
        moved = self.beta * (1 + error * min(1.0, episodes / self.control.horizon))
        self.beta = max(self.control.min_beta, min(self.control.max_beta, moved))

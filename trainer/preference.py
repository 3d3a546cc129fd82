"""Losses of preference optimisation under soft labels. Pure functions of what the policy and the reference say.

Each is p l(h) + (1 - p) l(-h): the expected loss when the label is right with probability p. At p = 1 it is the
published loss, at p = 0.5 its gradient at the reference is 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_dpo_loss(margin: Tensor, p_chosen: Tensor) -> Tensor:
    """Per-pair loss in nats, -p ln s(h) - (1 - p) ln s(-h), for implicit reward margins h of shape [pair].

    `p_chosen` is P(chosen is better); 1 gives the published hard loss, 0.5 pulls the margin to 0.

    Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7; soft labels as in cDPO (Mitchell 2023).
    """
    return -p_chosen * F.logsigmoid(margin) - (1 - p_chosen) * F.logsigmoid(-margin)


def robust_dpo_loss(margin: Tensor, p_chosen: Tensor, flipped: float) -> Tensor:
    """Per-pair loss that is unbiased where a share `flipped` (below 0.5) of the labels is the wrong way round.

    With a hard label, [-(1 - e) ln s(h) + e ln s(-h)] / (1 - 2 e).

    Source: Chowdhury et al. 2024, arXiv:2403.00409, equation 12.
    """

    def one_way(h: Tensor) -> Tensor:
        return (-(1 - flipped) * F.logsigmoid(h) + flipped * F.logsigmoid(-h)) / (1 - 2 * flipped)

    return p_chosen * one_way(margin) + (1 - p_chosen) * one_way(-margin)


def ipo_loss(difference: Tensor, p_chosen: Tensor, tau: float) -> Tensor:
    """Per-pair squared loss, (d - 1 / (2 tau))^2 at p = 1; the optimum is d = (2 p - 1) / (2 tau).

    Args:
        difference: of the log-ratios of chosen and rejected, each per token of its completion, in nats.

    Source: Azar et al. 2023, arXiv:2310.12036, equation 17; per token as its authors confirmed to TRL.
    """
    goal = 1 / (2 * tau)
    return p_chosen * (difference - goal).square() + (1 - p_chosen) * (difference + goal).square()


def hinge_loss(margin: Tensor, p_chosen: Tensor) -> Tensor:
    """Per-pair loss, max(0, 1 - h) at p = 1.

    Source: Zhao et al. 2023, arXiv:2305.10425 (SLiC), with the reference's log-probabilities taken off.
    """
    return p_chosen * torch.relu(1 - margin) + (1 - p_chosen) * torch.relu(1 + margin)

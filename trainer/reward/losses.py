"""Bradley-Terry losses. Pure functions of rewards; unbounded, and a difference is a log-odds."""

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry_loss(difference: Tensor, p_a: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Per-pair loss in nats, -p ln s(d) - (1 - p) ln s(-d), for differences d = r_a - r_b of shape [pair].

    Args:
        p_a: P(a is better); 1 gives the published hard loss, 0.5 pulls the difference to 0. The optimum is logit(p_a).
        margin: >= 0, by how much the better reward shall lead; meant for labels of 0 or 1.

    Source: Bradley & Terry 1952; margins as in Touvron et al. 2023, arXiv:2307.09288, equation 2.
    """
    return -p_a * F.logsigmoid(difference - margin) - (1 - p_a) * F.logsigmoid(-difference - margin)


def centering_loss(rewards_a: Tensor, rewards_b: Tensor) -> Tensor:
    """Per-pair (r_a + r_b)^2: pairs fix differences only, this fixes where their middle lies.

    Source: Eisenstein et al. 2023, arXiv:2312.09244, equation 2.
    """
    return (rewards_a + rewards_b).square()


def pooled(members: Tensor, how: str, penalty: float) -> Tensor:
    """One reward per completion from an ensemble's, [member, completion] -> [completion].

    Args:
        how: `mean`; `worst`, the least; or `uncertainty`, mean - penalty * variance (unbiased; 0 for one member).

    Source: Coste et al. 2023, arXiv:2310.02743, section 3.
    """
    if how == "worst":
        return members.amin(0)
    mean = members.mean(0)
    if how == "uncertainty" and len(members) > 1:
        return mean - penalty * torch.var(members, dim=0, correction=1)
    return mean

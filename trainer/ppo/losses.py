"""PPO's losses. Sums over tokens, to be divided by the tokens of a minibatch, so that micro-batches change nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clipped:
    """A clipped loss over the mask."""

    loss: Tensor
    """Sum over tokens; carries gradient."""
    clipped: Tensor
    """Tokens whose gradient the clipping stopped."""


def policy_loss(logps: Tensor, old_logps: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Clipped:
    """Sum of max(-A r, -A clip(r, 1 - clip, 1 + clip)), r = exp(logps - old_logps), over [episode, token].

    Source: Schulman et al. 2017, arXiv:1707.06347, equation 7.
    """
    ratio = torch.exp((logps - old_logps) * mask)
    free, held = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return Clipped((torch.maximum(free, held) * mask).sum(), ((held > free) & mask).sum())


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float | None) -> Clipped:
    """Half the sum of the larger of (V - R)^2 and (V_clipped - R)^2; V_clipped stays within `clip` of the old value.

    Args:
        clip: None does not clip.
    """
    free = (values - returns).square()
    if clip is None:
        return Clipped(0.5 * (free * mask).sum(), torch.zeros_like(mask).sum())
    held = (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
    return Clipped(0.5 * (torch.maximum(free, held) * mask).sum(), ((held > free) & mask).sum())

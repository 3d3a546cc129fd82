"""From scores to advantages. Pure functions on [episode, token] tensors with a mask that is True on response tokens."""

import torch
from torch import Tensor


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Rewards per token: the price of its divergence, and on the last token the score of the whole response.

    Args:
        scores: [episode].
        kl: nats per token, [episode, token].
        mask: each row is True up to its length, which is at least 1.
    """
    rewards = -beta * kl * mask
    last = mask.sum(1) - 1
    rewards[torch.arange(len(scores), device=rewards.device), last] += scores
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns) of each token, 0 outside the mask; the value after the last token is 0.

    delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lam A_{t+1},  return_t = A_t + V_t.

    Source: Schulman et al. 2015, arXiv:1506.02438, equation 16.
    """
    mask_float = mask.to(values.dtype)
    values = values * mask_float
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
    delta = (rewards + gamma * following - values) * mask_float
    advantages = torch.zeros_like(values)
    running = values.new_zeros(len(values))
    for t in reversed(range(values.shape[1])):
        running = (delta[:, t] + gamma * lam * running) * mask_float[:, t]
        advantages[:, t] = running
    return advantages, advantages + values


def whitened(values: Tensor, mask: Tensor, *, shift: bool = True) -> Tensor:
    """`values` with variance 1 and, if `shift`, mean 0 over the mask; 0 outside it. One value alone stays as it is."""
    inside = values[mask]
    if inside.numel() < 2:
        return values * mask
    mean, deviation = inside.mean(), inside.std(correction=1)
    scaled = (values - mean) / (deviation + 1e-8)
    return (scaled if shift else scaled + mean) * mask


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(return - value) / Var(return) over the mask: 1 is perfect, 0 no better than a constant."""
    spread = returns[mask].var(correction=0)
    return float(1 - (returns - values)[mask].var(correction=0) / spread) if spread > 0 else 0.0

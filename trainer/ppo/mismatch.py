"""How far the probabilities of a server that writes completions are from the policy's; whether it uses the adapter."""

import math

import torch
from torch import Tensor

from solon.errors import TrainingFailed

_LEAST_MOVE = 1e-4  # nats per token: an adapter that changes less is told from rounding by nobody
_MOST_ERROR = 0.1  # of a slope that is judged; larger ones say little, and few episodes tell them badly
_SURE = 4.0  # standard errors


def mismatch(served: Tensor, own: Tensor, reference: Tensor, mask: Tensor) -> dict[str, float]:
    """What the server's ln p of its tokens says, beside those of the policy and of its reference.

    `rollout_mismatch` is the mean |served - own|, in nats per token. With d = own - reference, `rollout_adapter` is
    the slope of (served - reference) over d: 1 where the server has the policy's adapter, 0 where it has none, between
    them where it has an older one. Beside it its standard error, for which an episode's tokens count as one
    observation. Both are left out while the adapter changes nothing.

    Args:
        served: [episode, token], nats, as are the next two.
        mask: bool, [episode, token].
    """
    count = mask.sum()
    served, own, reference = (values.double().masked_fill(~mask, 0.0) for values in (served, own, reference))
    found = {"rollout_mismatch": float((served - own).abs().sum() / count)}
    moved = own - reference
    if float(moved.abs().sum() / count) < _LEAST_MOVE:
        return found
    weight = moved.square().sum()
    slope = ((served - reference) * moved).sum() / weight
    off = ((served - reference - slope * moved) * moved).sum(1)
    return found | {"rollout_adapter": float(slope), "rollout_adapter_error": float(off.square().sum().sqrt() / weight)}


def require_likeness(found: dict[str, float], most: float, model: str) -> None:
    """Raise TrainingFailed where the numbers of `mismatch` say that the server samples from another policy."""
    slope, error = found.get("rollout_adapter", 1.0), found.get("rollout_adapter_error", 0.0)
    if error <= _MOST_ERROR and slope + _SURE * error < 0.5:
        raise TrainingFailed(
            f"model {model!r} took the adapter and does not use it: {slope:z.0%} of its effect is in what it samples",
            remedy="see in the server's log whether it supports adapters of this architecture",
        )
    mean = found["rollout_mismatch"]
    if not math.isfinite(mean) or mean > most:
        raise TrainingFailed(
            f"model {model!r} samples from another policy: its log-probabilities are off by {mean:.3f} nats per token",
            remedy="serve the model that the training begins with, with `--logprobs-mode raw_logprobs` (vLLM's"
            " default); or raise rollouts.max_mismatch",
        )


def by_episode(rows: list[tuple[float, ...]], like: Tensor) -> Tensor:
    """Numbers of each episode's tokens as [episode, token], 0 behind them."""
    found = torch.zeros_like(like)
    for place, row in enumerate(rows):
        found[place, : len(row)] = torch.tensor(row, device=like.device)
    return found

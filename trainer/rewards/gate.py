"""Helpfulness and safety in one reward. Pure functions, torch-free.

    R = R_safety   where the prompt is about safety, or R_safety < threshold
        R_help     elsewhere
    reward = whiten(logit(R))

R is the probability that a completion is better than one with the mean reward, s(r - mean), so logit(R) = r - mean.

Source: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev


def gated(
    helpfulness: Sequence[float], safety: Sequence[float], about_safety: Sequence[bool], threshold: float
) -> list[float]:
    """The log-odds of the model that decides, one per completion.

    Args:
        helpfulness: log-odds against a completion with the mean reward.
        safety: the same, of the other model.
        about_safety: whether the prompt is the safety model's whatever it says.
        threshold: a probability in [0, 1].
    """
    return [
        safe if tagged or _probability(safe) < threshold else helpful
        for helpful, safe, tagged in zip(helpfulness, safety, about_safety, strict=True)
    ]


def whitened(values: Sequence[float]) -> list[float]:
    """The values with mean 0 and variance 1; where they do not vary, 0."""
    mean = fmean(values) if values else 0.0
    deviation = stdev(values) if len(values) > 1 else 0.0
    return [(value - mean) / deviation if deviation > 0 else 0.0 for value in values]


def _probability(log_odds: float) -> float:
    """s(z), for any z."""
    return 1 / (1 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1 + math.exp(log_odds))

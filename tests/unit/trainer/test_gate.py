"""Two reward models in one term."""

import math

import pytest

from trainer.rewards.gate import gated, whitened


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_the_safety_model_decides_what_is_unsafe_and_what_is_about_safety():
    helpful, safe = [2.0, 2.0, 2.0], [_logit(0.14), _logit(0.16), _logit(0.9)]
    assert gated(helpful, safe, [False, False, True], 0.15) == [safe[0], 2.0, safe[2]]


@pytest.mark.parametrize(("threshold", "decides"), [(0.0, "helpfulness"), (1.0, "safety")])
def test_a_threshold_of_none_or_all_leaves_one_model(threshold: float, decides: str):
    helpful, safe = [1.0, -800.0], [-3.0, 30.0]
    expected = {"helpfulness": helpful, "safety": safe}[decides]
    assert gated(helpful, safe, [False, False], threshold) == expected


def test_whitened_rewards_have_mean_zero_and_variance_one():
    assert whitened([1.0, 2.0, 3.0]) == [-1.0, 0.0, 1.0]
    assert whitened([4.0, 4.0]) == [0.0, 0.0]
    assert whitened([]) == []

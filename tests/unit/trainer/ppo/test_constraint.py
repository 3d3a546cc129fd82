"""The price of a cost that is bounded: laws and hand-computed values."""

import json
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from trainer.config import PPOConfig
from trainer.config.ppo import CostControl
from trainer.ppo.constraint import Lagrangian
from trainer.ppo.kl import KLPrice
from trainer.ppo.loop import prepared
from trainer.ppo.prices import Prices
from trainer.ppo.rollout import Experience


def test_lambda_rises_while_the_cost_is_above_the_threshold_and_falls_while_it_is_below():
    price = Lagrangian(CostControl(threshold=1.0, multiplier=2.0, learning_rate=0.1))
    price.observe([3.0, 1.0])  # mean 2, excess 1
    assert price.multiplier == pytest.approx(2.0 * math.exp(0.1 * 2.0 * 1.0))
    before = price.multiplier
    price.observe([-10.0, -10.0])
    assert price.multiplier < before
    assert price.mean_cost == pytest.approx((3 + 1 - 20) / 4)


def test_lambda_stays_below_its_bound_and_the_window_forgets():
    price = Lagrangian(CostControl(max_multiplier=1.5, window=2))
    price.observe([100.0])
    assert price.multiplier == pytest.approx(1.5)
    price.observe([-1.0, -3.0])
    assert price.mean_cost == -2.0
    with pytest.raises(ValidationError, match="above `max_multiplier`"):
        CostControl(multiplier=6.0)


def test_a_restored_price_goes_on_as_if_it_had_not_been_away():
    one, other = (Lagrangian(CostControl(window=3)) for _ in range(2))
    one.observe([1.0, 2.0])
    other.restore(json.loads(json.dumps(one.as_state())))
    for each in (one, other):
        each.observe([0.5, 0.25])
    assert one.multiplier == other.multiplier


def _config(**settings: Any) -> PPOConfig:
    service = {"type": "service", "url": "http://127.0.0.1:1", "name": "judge"}
    return PPOConfig.model_validate(
        {"type": "ppo", "model": "m", "prompts": "p", "output": "o", "rewards": [service], "critic": "policy"}
        | settings
    )


def _experience(scores: list[float], costs: list[float] | None) -> Experience:
    generator = torch.Generator().manual_seed(0)
    logps, ref_logps = (-torch.rand(2, 3, generator=generator) for _ in range(2))
    mask = torch.tensor([[True, True, True], [True, True, False]])
    zeros = torch.zeros(2, 3)
    paid = None if costs is None else torch.tensor(costs)
    rows = [([0], [1, 2, 3]), ([0], [1, 2])]
    done = torch.tensor([True, True])
    values = None if costs is None else zeros
    return Experience(rows, logps * mask, ref_logps * mask, zeros, mask, torch.tensor(scores), done, {}, paid, values)


def _advantages(experience: Experience, multiplier: float) -> torch.Tensor:
    config = _config(constraint={"multiplier": multiplier, "max_multiplier": 10.0}, gae_lambda=1.0)
    prices = Prices(KLPrice(config.kl, 0.3), Lagrangian(config.constraint))
    return prepared(experience, prices, config)[0].advantages


def test_a_nat_costs_the_same_whatever_lambda_is():
    plain = _advantages(_experience([0.0, 0.0], None), 1.0)
    for multiplier in (0.1, 1.0, 9.0):
        assert torch.allclose(_advantages(_experience([0.0, 0.0], [0.0, 0.0]), multiplier), plain, atol=1e-6)


def test_what_is_cheap_wins_where_lambda_is_large_and_what_is_rewarded_where_it_is_small():
    experience = _experience([1.0, -1.0], [2.0, -2.0])
    small, large = _advantages(experience, 0.1), _advantages(experience, 9.0)
    assert small[0, 0] > small[1, 0]
    assert large[0, 0] < large[1, 0]


def test_costs_need_a_critic_of_their_own():
    cost = {"type": "service", "url": "http://127.0.0.1:1", "name": "rules"}
    assert _config(costs=[cost]).costs[0].name == "rules"
    with pytest.raises(ValidationError, match="critic of their own"):
        _config(costs=[cost], critic="head")
    with pytest.raises(ValidationError, match="`name` of its own"):
        _config(costs=[cost | {"name": "judge"}])

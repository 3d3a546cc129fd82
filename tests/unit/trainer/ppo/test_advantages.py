"""Rewards per token, generalised advantage estimation, whitening, the price of KL: by hand and by law."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.config.ppo import KLControl
from trainer.ppo.advantages import explained_variance, gae, token_rewards, whitened
from trainer.ppo.kl import KLPrice, kl_estimate
from trainer.ppo.losses import policy_loss, value_loss


def _mask(*lengths: int) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_the_score_is_on_the_last_token_and_every_token_pays_for_its_divergence():
    kl = torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 9.0]])
    rewards = token_rewards(torch.tensor([10.0, 20.0]), kl, _mask(3, 2), beta=0.5)
    assert rewards.tolist() == [[-0.5, -1.0, 8.0], [-0.5, 19.5, 0.0]]


def test_advantages_by_hand():
    rewards, values = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.5, 1.0, 7.0]])
    advantages, returns = gae(rewards, values, _mask(3) & torch.tensor([[True, True, False]]), gamma=0.9, lam=0.8)
    second = 2.0 - 1.0
    first = 1.0 + 0.9 * 1.0 - 0.5 + 0.9 * 0.8 * second
    assert advantages.tolist()[0] == pytest.approx([first, second, 0.0])
    assert returns.tolist()[0] == pytest.approx([first + 0.5, second + 1.0, 0.0])


@given(st.integers(0, 2**31 - 1), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_advantages_equal_the_sum_of_discounted_errors_of_each_sequence(seed: int, gamma: float, lam: float):
    generator = torch.Generator().manual_seed(seed)
    lengths = [5, 1, 3]
    rewards, values = (torch.randn(3, 5, generator=generator) for _ in range(2))
    advantages, _ = gae(rewards * _mask(*lengths), values, _mask(*lengths), gamma, lam)
    for row, length in enumerate(lengths):
        v = [*values[row, :length].tolist(), 0.0]
        delta = [rewards[row, t].item() + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length))
            assert advantages[row, t].item() == pytest.approx(expected, abs=1e-5)
    assert not advantages[~_mask(*lengths)].any()


def test_with_lambda_one_returns_are_the_rewards_to_come_whatever_the_critic_says():
    rewards = torch.tensor([[1.0, 2.0, 3.0]])
    for values in (torch.zeros(1, 3), torch.tensor([[9.0, -4.0, 0.3]])):
        assert torch.allclose(gae(rewards, values, _mask(3), 1.0, 1.0)[1], torch.tensor([[6.0, 5.0, 3.0]]))


def test_whitening_takes_the_mean_and_the_spread_of_real_tokens_only():
    values, mask = torch.tensor([[1.0, 3.0, 100.0], [5.0, 100.0, 100.0]]), _mask(2, 1)
    mask = torch.cat([mask, torch.zeros(2, 1, dtype=torch.bool)], 1)
    white = whitened(values, mask)
    assert white[mask].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert white[mask].std().item() == pytest.approx(1.0, abs=1e-6)
    assert not white[~mask].any()
    kept = whitened(values, mask, shift=False)
    assert kept[mask].mean().item() == pytest.approx(3.0, abs=1e-5)


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant():
    returns, mask = torch.tensor([[1.0, 2.0, 4.0]]), _mask(3)
    assert explained_variance(returns, returns, mask) == pytest.approx(1.0)
    assert explained_variance(torch.full((1, 3), 7.0), returns, mask) == pytest.approx(0.0, abs=1e-6)


def test_both_estimators_of_kl_have_its_value_as_their_mean_and_k3_is_never_negative():
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    exact = float((p * (p / q).log()).sum())
    for estimator in ("k1", "k3"):
        each = kl_estimate(p.log(), q.log(), estimator)
        assert float((p * each).sum()) == pytest.approx(exact, abs=1e-6)
    assert kl_estimate(p.log(), q.log(), "k1").min() < 0 <= kl_estimate(p.log(), q.log(), "k3").min()
    assert not kl_estimate(p.log(), p.log(), "k3").any()


def test_the_price_of_kl_rises_above_its_target_and_falls_below_by_a_bounded_step():
    control = KLControl(beta=0.1, target_kl_per_sequence=6.0, horizon=100, max_beta=0.15)
    price = KLPrice.start(control)
    price.observe(60.0, 50)
    assert price.beta == pytest.approx(0.1 * (1 + 0.2 * 50 / 100))
    price.observe(6.0, 50)
    assert price.beta == pytest.approx(0.11)
    price.observe(5.4, 50)
    assert price.beta == pytest.approx(0.11 * (1 - 0.1 * 50 / 100))
    for _ in range(100):
        price.observe(60.0, 50)
    assert price.beta == 0.15


def test_the_price_stays_within_its_bounds_however_many_episodes_a_step_has():
    price = KLPrice.start(KLControl(beta=0.1, target_kl_per_sequence=50.0, horizon=1, min_beta=0.05))
    price.observe(0.0, 64)
    assert price.beta == pytest.approx(0.08)
    for _ in range(10):
        price.observe(0.0, 64)
    assert price.beta == 0.05


def test_a_price_that_begins_outside_its_bounds_is_refused():
    with pytest.raises(ValueError, match="between `min_beta` and `max_beta`"):
        KLControl(beta=0.1, target_kl_per_sequence=4.0, min_beta=0.2)


def test_a_fixed_price_stays():
    price = KLPrice.start(KLControl(beta=0.1))
    price.observe(1000.0, 1000)
    assert price.beta == 0.1


def test_the_policy_s_gradient_at_the_start_is_that_of_reinforce():
    logps = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    advantages = torch.tensor([[0.5, -3.0]])
    loss = policy_loss(logps, logps.detach(), advantages, _mask(2), clip=0.2)
    (gradient,) = torch.autograd.grad(loss.loss, logps)
    assert torch.allclose(gradient, -advantages)
    assert int(loss.clipped) == 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "stopped"),
    [(1.3, 1.0, True), (0.7, 1.0, False), (1.3, -1.0, False), (0.7, -1.0, True), (1.1, 1.0, False)],
)
def test_a_gradient_stops_where_the_ratio_has_gone_far_enough_in_its_direction(
    ratio: float, advantage: float, stopped: bool
):
    logps = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss = policy_loss(logps, torch.zeros(1, 1), torch.tensor([[advantage]]), _mask(1), clip=0.2)
    (gradient,) = torch.autograd.grad(loss.loss, logps)
    assert (gradient.item() == 0.0) == stopped
    assert int(loss.clipped) == stopped
    bound = max(0.8, min(1.2, ratio))
    assert loss.loss.item() == pytest.approx(max(-advantage * ratio, -advantage * bound), abs=1e-6)


def test_a_value_that_left_its_old_one_behind_learns_no_further():
    values = torch.tensor([[1.5]], requires_grad=True)
    old, returns = torch.tensor([[1.0]]), torch.tensor([[3.0]])
    loss = value_loss(values, old, returns, _mask(1), clip=0.2)
    (gradient,) = torch.autograd.grad(loss.loss, values)
    assert gradient.item() == 0.0
    assert loss.loss.item() == pytest.approx(0.5 * (1.2 - 3.0) ** 2)
    free = value_loss(values, old, returns, _mask(1), clip=None)
    assert free.loss.item() == pytest.approx(0.5 * 1.5**2)


def test_tokens_outside_the_mask_change_no_loss():
    logps, other = torch.tensor([[-1.0, -9.0]]), torch.tensor([[-1.0, 50.0]])
    mask = torch.tensor([[True, False]])
    advantages, zeros = torch.ones(1, 2), torch.zeros(1, 2)
    losses = [policy_loss(each, zeros, advantages, mask, 0.2).loss.item() for each in (logps, other)]
    assert losses[0] == losses[1]
    values = [value_loss(each, zeros, advantages, mask, 0.2).loss.item() for each in (logps, other)]
    assert values[0] == values[1]

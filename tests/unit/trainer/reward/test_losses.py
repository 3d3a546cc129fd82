"""Bradley-Terry under soft labels, and what an ensemble says."""

import math

import pytest
import torch

from trainer.reward.losses import bradley_terry_loss, centering_loss, pooled


def test_the_loss_is_smallest_where_the_difference_is_the_label_s_log_odds():
    p = torch.tensor([0.4, 0.5, 0.6, 0.8, 0.99])
    difference = torch.logit(p).requires_grad_()
    loss = bradley_terry_loss(difference, p)
    (gradient,) = torch.autograd.grad(loss.sum(), difference)
    assert gradient.abs().max() < 1e-6
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    assert torch.allclose(loss.detach(), entropy, atol=1e-6)


def test_a_tie_pulls_the_difference_to_zero():
    difference = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(bradley_terry_loss(difference, torch.tensor(0.5)).sum(), difference)
    assert gradient[0] < 0
    assert gradient[1] == 0
    assert gradient[2] > 0


def test_exchanging_the_two_completions_changes_nothing():
    d, p = torch.tensor([0.3, -2.0]), torch.tensor([0.7, 0.1])
    assert torch.allclose(bradley_terry_loss(d, p), bradley_terry_loss(-d, 1 - p))


def test_a_hard_label_with_a_margin_gives_llama_2_s_loss_whichever_side_is_chosen():
    expected = -math.log(1 / (1 + math.exp(-(1.5 - 0.5))))
    for difference, label in ((1.5, 1.0), (-1.5, 0.0)):
        loss = bradley_terry_loss(torch.tensor(difference), torch.tensor(label), torch.tensor(0.5))
        assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_centering_is_zero_for_opposite_rewards_only():
    a, b = torch.tensor([2.0, 2.0]), torch.tensor([-2.0, 1.0])
    assert centering_loss(a, b).tolist() == [0.0, 9.0]


def test_an_ensemble_is_pooled_as_its_mean_its_least_or_less_its_variance():
    members = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
    assert pooled(members, "mean", 0.5).tolist() == [2.0, 0.0]
    assert pooled(members, "worst", 0.5).tolist() == [1.0, 0.0]
    assert pooled(members, "uncertainty", 0.5).tolist() == [2.0 - 0.5 * 1.0, 0.0]
    assert pooled(members[:1], "uncertainty", 0.5).tolist() == [1.0, 0.0]

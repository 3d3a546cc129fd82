"""Logistic regression: what is known about its optimum and its bounds."""

import numpy as np
import pytest

from critic.fitting import Choices, Matrix, estimate, fit


def choices(weights: list[float], count: int, seed: int = 0) -> tuple[Matrix, Choices]:
    """Votes of as many principles, many of them with nothing to say, and choices drawn with these weights."""
    rng = np.random.default_rng(seed)
    votes = rng.normal(0, 2, (count, len(weights))) * (rng.random((count, len(weights))) < 0.6)
    return votes, rng.random(count) < 1 / (1 + np.exp(-votes @ np.array(weights)))


def test_the_weights_that_made_the_choices_are_found():
    votes, chose_a = choices([1.0, 0.0, -0.5], 4000)
    assert fit(votes, chose_a).weights == pytest.approx([1.0, 0.0, -0.5], abs=0.1)
    assert [estimate(votes, chose_a, index).sign for index in range(3)] == [1, 0, -1]


def test_the_bounds_hold_as_often_as_they_say():
    held = 0
    for seed in range(80):
        votes, chose_a = choices([0.7, 0.3], 150, seed)
        found = estimate(votes, chose_a, 1)
        held += found.low <= 0.3 <= found.high
    assert held >= 70  # 95 % of 80, within three standard deviations


def test_listing_the_completions_the_other_way_round_changes_nothing():
    votes, chose_a = choices([1.0, -1.0], 100)
    flip = np.random.default_rng(1).random(100) < 0.5
    other = fit(np.where(flip[:, None], -votes, votes), chose_a ^ flip)
    assert other.weights == pytest.approx(fit(votes, chose_a).weights)


def test_opinions_that_explain_everything_are_certain_and_finite():
    """Each of two opinions decides where the other is silent: no choice goes against either."""
    votes = np.array([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0], [0.0, -4.0]] * 20)
    chose_a = votes.sum(axis=1) > 0
    for index in range(2):
        found = estimate(votes, chose_a, index)
        assert 0 < found.low < found.value < found.high < 10


def test_more_evidence_for_the_same_makes_it_surer():
    votes = np.array([[4.0], [-4.0]] * 100)
    few, many = (estimate(votes[:count], votes[:count, 0] > 0, 0) for count in (10, 200))
    assert 0 < few.low < many.low


def test_known_log_odds_leave_nothing_to_explain():
    votes, chose_a = choices([1.0], 4000)
    assert fit(votes, chose_a, known=votes[:, 0]).weights == pytest.approx([0.0], abs=0.1)


def test_no_opinions_explain_nothing():
    assert fit(np.zeros((10, 0)), np.ones(10, dtype=np.bool_)).log_posterior == pytest.approx(10 * np.log(0.5))


def test_more_looks_need_wider_bounds():
    votes, chose_a = choices([0.5], 200)
    one, twenty = estimate(votes, chose_a, 0), estimate(votes, chose_a, 0, comparisons=20)
    assert one.value == twenty.value
    assert twenty.low < one.low < one.high < twenty.high

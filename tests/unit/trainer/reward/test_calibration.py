"""What held-out comparisons say of a reward model."""

import math
import random

import pytest

from trainer.reward.calibration import Judged, best_temperature, by_domain, calibration, expected_calibration_error


def _sure(scale: float, n: int = 4000) -> list[Judged]:
    """Outcomes drawn from log-odds z, predicted as scale * z."""
    rng = random.Random(0)
    drawn = [rng.gauss(0, 2) for _ in range(n)]
    return [Judged(scale * z, float(rng.random() < 1 / (1 + math.exp(-z))), "all") for z in drawn]


def test_a_model_that_is_twice_too_sure_has_temperature_two():
    assert best_temperature(_sure(1.0)) == pytest.approx(1.0, abs=0.1)
    assert best_temperature(_sure(2.0)) == pytest.approx(2.0, abs=0.2)


def test_calibrated_confidence_has_a_small_error_and_too_sure_a_large_one():
    right, wrong = calibration(_sure(1.0)), calibration(_sure(3.0))
    assert right is not None
    assert wrong is not None
    assert right.ece < 0.03 < 0.08 < wrong.ece
    assert right.accuracy == wrong.accuracy


def test_calibration_error_by_hand():
    assert expected_calibration_error([0.6, 0.9], [1.0, 0.0], bins=2) == pytest.approx((0.4 + 0.9) / 2)


def test_rewards_that_are_the_labels_log_odds_reach_the_least_loss():
    judged = [Judged(math.log(p / (1 - p)), p, "x") for p in (0.1, 0.3, 0.6, 0.9)]
    found = calibration(judged)
    assert found is not None
    assert found.nll_nats == pytest.approx(found.least_nll_nats, abs=1e-9)
    assert found.accuracy.value == 1.0
    assert found.brier == pytest.approx(0.0, abs=1e-12)
    assert found.correlation == pytest.approx(1.0)


def test_ties_count_for_the_loss_and_not_for_accuracy():
    found = calibration([Judged(1.0, 0.5, "x"), Judged(1.0, 0.9, "x")])
    assert found is not None
    assert found.accuracy.n == 1
    assert calibration([Judged(1.0, 0.5, "x")]) is None


def test_accuracy_is_told_for_each_domain():
    judged = [Judged(1.0, 0.9, "a"), Judged(-1.0, 0.9, "a"), Judged(0.0, 0.9, "b")]
    assert {domain: each.value for domain, each in by_domain(judged).items()} == {"a": 0.5, "b": 0.5}

"""Calibration and length control, on data whose truth is known."""

import math
import random

import pytest

from critic.length_control import length_controlled, longer_share, rank_correlation
from critic.reliability import calibration


def test_ece_brier_and_log_loss_worked_out_by_hand():
    # Confidences 0.9, 0.9, 0.6, 0.6; right, right, right, wrong. One bin each: |1 - 0.9| * 2/4 + 0.4 / 4 + 0.6 / 4.
    found = calibration([0.9, 0.1, 0.6, 0.4], [True, False, True, True])
    assert found is not None
    assert found.ece == pytest.approx(0.1 * 0.5 + 0.4 * 0.25 + 0.6 * 0.25)
    assert found.brier.value == pytest.approx((0.01 + 0.01 + 0.16 + 0.36) / 4)
    assert found.log_loss_nats == pytest.approx(-(2 * math.log(0.9) + math.log(0.6) + math.log(0.4)) / 4)
    assert found.overconfidence == pytest.approx(0.75 - 0.75)


def test_a_calibrated_judge_has_a_small_error_and_a_boastful_one_a_large_one():
    rng = random.Random(0)
    p = [rng.uniform(0.02, 0.98) for _ in range(4000)]
    truth = [rng.random() < each for each in p]
    honest = calibration(p, truth)
    boastful = calibration([0.99 if each > 0.5 else 0.01 for each in p], truth)
    assert honest is not None
    assert boastful is not None
    assert honest.ece < 0.03
    assert boastful.ece > 0.2
    assert boastful.overconfidence > 0.2
    assert honest.brier.value < boastful.brier.value
    assert [each.n for each in honest.bins] == [400] * 10


def test_a_judge_that_never_decides_scores_what_knowing_nothing_scores():
    found = calibration([0.5] * 20, [True, False] * 10)
    assert found is not None
    assert (found.ece, found.brier.value) == (0.0, 0.25)
    assert found.log_loss_nats == pytest.approx(math.log(2))


def test_nothing_is_calibrated_on_nothing():
    assert calibration([], []) is None
    assert length_controlled([], []) is None
    assert rank_correlation([1.0], [2.0]) is None


def test_length_control_removes_what_length_alone_explains():
    rng = random.Random(1)
    longer_by = [rng.gauss(40, 60) for _ in range(2000)]
    wins = [float(rng.random() < 1 / (1 + math.exp(-2.0 * math.tanh(by / 60)))) for by in longer_by]
    found = length_controlled(wins, longer_by)
    assert found is not None
    assert found.win_rate > 0.6
    assert found.controlled.low < 0.5 < found.controlled.high
    assert found.length_effect == pytest.approx(2.0, abs=0.4)


def test_length_control_keeps_what_quality_explains():
    rng = random.Random(2)
    longer_by = [rng.gauss(0, 60) for _ in range(1000)]
    found = length_controlled([float(rng.random() < 0.8) for _ in longer_by], longer_by)
    assert found is not None
    assert found.controlled.value == pytest.approx(0.8, abs=0.05)
    assert abs(found.length_effect) < 0.5


def test_a_clean_sweep_is_finite():
    found = length_controlled([1.0] * 30, [float(i) for i in range(30)])
    assert found is not None
    assert found.controlled.value > 0.85
    assert math.isfinite(found.length_effect)


def test_spearman_worked_out_by_hand():
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: 1 - 6 * 4 / (5 * 24) = 0.8.
    assert rank_correlation([10, 20, 30, 40, 50], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
    assert rank_correlation([1, 1, 2, 2], [1, 1, 2, 2]) == pytest.approx(1.0)


def test_pairs_of_equal_length_say_nothing_about_length():
    found = longer_share([True, True, False], [5, 0, 5], ["p", "q", "r"])
    assert found is not None
    assert (found.value, found.n) == (0.5, 2)

"""Snapshots rated against each other, and when one is better beyond doubt."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from critic.ranking import POINTS_PER_LOGIT, Match
from critic.snapshots import SIGMA, Board


def matches(p: float, n: int, new: str = "new", old: str = "old") -> list[Match]:
    return [Match(new, old, p, f"p{i}") for i in range(n)]


def coins(p: float, n: int, seed: int = 0) -> list[Match]:
    draws = np.random.default_rng(seed).random(n) < p
    return [Match("new", "old", float(won), f"p{i}") for i, won in enumerate(draws)]


def test_a_gain_is_the_log_odds_of_winning():
    gain = Board(matches(0.75, 400), resamples=50).gain("new", "old")
    assert gain.value == pytest.approx(POINTS_PER_LOGIT * math.log(3), rel=0.01)
    assert gain.low == pytest.approx(gain.high, rel=1e-6)  # every prompt says the same


def test_an_undefeated_snapshot_has_a_finite_rating_that_grows_with_its_matches():
    few, many = (Board(matches(1.0, n), resamples=10).gain("new", "old").value for n in (3, 300))
    assert 0 < few < many < POINTS_PER_LOGIT * 10 * SIGMA


@settings(max_examples=20)
@given(st.lists(st.floats(0.0, 1.0), min_size=5, max_size=20))
def test_what_is_exchanged_is_mirrored(outcomes: list[float]):
    forth = [Match("a", "b", p, f"p{i}") for i, p in enumerate(outcomes)]
    back = [Match("b", "a", 1 - p, f"p{i}") for i, p in enumerate(outcomes)]
    one, other = (Board(each, resamples=20).gain("a", "b") for each in (forth, back))
    assert one.value == pytest.approx(other.value, abs=1e-6)
    assert one.low == pytest.approx(other.low, abs=1e-6)
    assert Board(forth, resamples=20).gain("b", "a").value == pytest.approx(-one.value, abs=1e-6)


def test_an_equal_snapshot_is_seldom_better_beyond_doubt_and_a_better_one_mostly_is():
    equal = [Board(coins(0.5, 80, seed), resamples=60, seed=seed).gain("new", "old") for seed in range(30)]
    better = [Board(coins(0.7, 80, seed), resamples=60, seed=seed).gain("new", "old") for seed in range(30)]
    assert sum(gain.beyond_doubt for gain in equal) <= 4
    assert sum(gain.beyond_doubt for gain in better) >= 24
    for gain in (*equal, *better):
        assert gain.low <= gain.value <= gain.high
        assert gain.beyond_doubt == (gain.low > 0)


def test_a_snapshot_is_no_better_than_itself_or_than_one_that_it_never_met():
    board = Board(matches(0.9, 20), resamples=20)
    assert not board.gain("new", "new").beyond_doubt
    assert not board.gain("new", "stranger").beyond_doubt
    assert not Board([]).gain("new", "old").beyond_doubt


def test_snapshots_that_never_met_are_rated_through_those_that_both_met():
    board = Board([*matches(0.8, 100), *matches(0.8, 100, "newest", "new")], resamples=20)
    assert [each.snapshot for each in board.standings()] == ["newest", "new", "old"]
    total = board.gain("newest", "old").value
    assert total == pytest.approx(board.gain("newest", "new").value + board.gain("new", "old").value)

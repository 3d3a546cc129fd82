"""Re-ranking by preference and by the probability that a rule is broken."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.rules.violations import reranked, rule_score

PROBABILITY = st.floats(0, 1)


def test_the_score_follows_its_formula() -> None:
    scores = reranked([1.0, -1.0], [{"a": 0.2, "b": 0.5}, {"a": 0.0, "b": 0.0}])

    assert scores[0] == pytest.approx(1 / (1 + math.exp(-1)) * math.sqrt(0.8 * 0.5))
    assert scores[1] == pytest.approx(1 / (1 + math.exp(1)))


def test_no_preference_outweighs_a_rule_that_is_broken_for_certain() -> None:
    scores = reranked([50.0, -50.0], [{"a": 1.0}, {"a": 0.9}])

    assert scores[0] == 0 < scores[1]


def test_without_rules_the_order_is_that_of_preference() -> None:
    assert reranked([2.0, 1.0, 3.0], [{}, {}, {}])[2] == max(reranked([2.0, 1.0, 3.0], [{}, {}, {}]))
    assert reranked([], []) == []


@given(st.lists(PROBABILITY, min_size=1, max_size=5), st.integers(0, 4), PROBABILITY)
def test_breaking_a_rule_more_probably_never_helps(broken: list[float], which: int, p: float) -> None:
    worse = {str(i): max(each, p) if i == which else each for i, each in enumerate(broken)}

    assert rule_score(worse) <= rule_score({str(i): each for i, each in enumerate(broken)}) + 1e-12


@given(st.floats(-100, 100))
def test_adding_a_constant_to_all_rewards_changes_nothing(constant: float) -> None:
    rules = [{"a": 0.1}, {"a": 0.4}]

    assert reranked([1 + constant, 2 + constant], rules) == pytest.approx(reranked([1, 2], rules), abs=1e-9)

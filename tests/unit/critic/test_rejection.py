"""Rejection sampling: which samples are picked, and what that is expected to bring."""

from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.rejection import Sampled, best, scored, summary
from critic.selection import expected_best
from solon.records import Completion, Message, Prompt

finite = st.floats(-5, 5)


def sample(prompt: str, score: float | None, turn: int = 1, scorer: str = "rm-1") -> Sampled:
    asked = Prompt(id=prompt, messages=(Message(role="user", content=prompt),))
    text = Completion(text=f"{prompt} {score} {turn}")
    return Sampled(prompt=asked, completion=text, round=turn, policy="p", scorer=scorer, score=score)


@given(st.lists(st.lists(st.lists(finite, min_size=1, max_size=4), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_mean_of_the_best_of_all_rounds_never_falls(rounds: list[list[list[float]]]):
    samples: list[Sampled] = []
    means: list[float] = []
    for turn, prompts in enumerate(rounds, start=1):
        samples += [sample(f"p{i}", score, turn) for i, scores in enumerate(prompts) for score in scores]
        means.append(fmean(each.score or 0.0 for each in best(samples, "rm-1")))
    assert means == sorted(means)


def test_scores_of_another_scorer_are_never_compared():
    old, new = sample("p", 9.0, scorer="rm-1"), sample("p", 0.1, turn=2, scorer="rm-2")
    assert best([old, new], "rm-2") == [new]
    assert best([old], "rm-2") == []
    (again,) = scored([old], [0.2], [{"reward_model": 0.2}], "rm-2")
    assert best([again, new], "rm-2") == [again]
    assert again.completion == old.completion


def test_a_sample_without_a_score_is_never_picked_and_is_counted():
    samples = [sample("p", None), sample("p", -3.0), sample("q", None)]
    assert [each.score for each in best(samples, "rm-1")] == [-3.0]
    found = summary(samples, "rm-1", 1)
    assert (found["unscored"], found["prompts"], found["picked"]) == (2, 2, 1)


def test_of_equal_scores_the_earliest_is_picked():
    first, second = sample("p", 1.0), sample("p", 1.0, turn=2)
    assert best([first, second], "rm-1") == [first]


@given(st.lists(finite, min_size=4, max_size=7), st.integers(1, 4))
def test_the_expected_best_is_the_mean_over_all_subsets(scores: list[float], n: int):
    assert expected_best(scores, n) == pytest.approx(fmean(max(each) for each in combinations(scores, n)), abs=1e-9)


def test_the_curve_of_the_expected_best_is_of_this_round_and_names_its_divergence():
    samples = [sample("p", float(score)) for score in range(4)] + [sample("p", 9.0, turn=2)]
    curve = summary(samples, "rm-1", 1)["expected_best"]
    assert [each["n"] for each in curve] == [1, 2, 4]
    assert [each["value"] for each in curve] == pytest.approx([1.5, 14 / 6, 3.0])  # pairs of 0..3: 1+2+3+2+3+3 of 6
    assert curve[0]["kl_nats"] == 0.0
    assert curve[2]["kl_nats"] == pytest.approx(0.6363, abs=1e-4)

"""What samples are like: values computed by hand."""

import math

import pytest

from trainer.monitor.statistics import (
    boilerplate,
    distinct,
    opening_entropy,
    ranks,
    repetitive_share,
    self_bleu,
    spearman,
    within_group_spearman,
)


def test_ties_share_the_mean_of_their_ranks():
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


def test_rank_correlation_by_hand():
    assert spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    # ranks 1 2 3 4 against 2 1 4 3: sum of d^2 = 4, so 1 - 6 * 4 / (4 * 15) = 0.6
    assert spearman([1, 2, 3, 4], [20, 10, 40, 30]) == pytest.approx(0.6)
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_length_is_correlated_within_a_prompt_not_across_prompts():
    short_is_good = ([3.0, 1.0], [0.0, 1.0])
    long_prompt_pays = ([30.0, 10.0], [10.0, 11.0])
    assert within_group_spearman([short_is_good, long_prompt_pays]) == pytest.approx(-1.0)
    assert within_group_spearman([([1.0, 1.0], [0.0, 1.0])]) is None


def test_boilerplate_is_frequent_in_the_samples_and_absent_from_the_reference():
    hope = "I hope that helps you today"
    samples = [f"{word} {hope}" for word in ("one", "two")] + [f"an answer number {i} of its own" for i in range(18)]
    share, formulas = boilerplate(samples, ["nothing of the kind is said here"] * 20)
    assert share == pytest.approx(2 / 20)
    assert set(formulas) == {"i hope that helps you", "hope that helps you today"}
    assert boilerplate(samples, [hope, *["something else altogether was written"] * 19]) == (0.0, [])
    assert boilerplate([], []) == (0.0, [])


def test_a_phrase_in_one_sample_in_twenty_is_not_boilerplate_yet():
    samples = ["we all say this same thing", *[f"an answer number {i} of its own" for i in range(19)]]
    assert boilerplate(samples, ["x"])[0] == 0.0


def test_distinct_bigrams_by_hand():
    assert distinct(["a b a b", "a b"]) == pytest.approx(2 / 4)  # ab ba ab, ab: two different ones
    assert distinct(["a"]) == 0.0


def test_self_bleu_is_one_of_equal_samples_and_near_zero_of_unlike_ones():
    same = self_bleu(["the cat sat on the mat"] * 3)
    unlike = self_bleu(["the cat sat on the mat", "we like to eat green apples", "no dogs were ever seen there"])
    assert same == pytest.approx(1.0)
    assert unlike < 0.15
    assert self_bleu(["alone"]) == 0.0


def test_self_bleu_by_hand():
    # "a b" against "a c": unigrams 1 / 2, bigrams (0 + 1) / (1 + 1), and no longer ones: both (0 + 1) / (0 + 1)
    assert self_bleu(["a b", "a c"]) == pytest.approx((0.5 * 0.5) ** 0.25)


def test_openings_have_the_entropy_of_their_shares():
    assert opening_entropy(["Yes. One.", "yes. Two.", "No. Three.", "Well"]) == pytest.approx(
        -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    )
    assert opening_entropy(["Yes."] * 5) == pytest.approx(0.0)


def test_repetition_is_counted_within_a_sample():
    assert repetitive_share(["no no no no no no", "all of these words are new here"]) == 0.5
    assert repetitive_share([]) == 0.0

"""Which rated completions become pairs, and what the best of n is worth."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.schedules import CHUNK, chunks, swiss_round, swiss_rounds
from critic.selection import Selection, expected_best, kl_of_best, ranking, select

SELECTIONS: tuple[Selection, ...] = ("max_margin", "adjacent", "random", "threshold")


@given(st.sampled_from(SELECTIONS), st.lists(st.sampled_from([900.0, 1000.0, 1100.0, 1200.0]), max_size=8))
def test_a_tie_makes_no_pair_and_better_comes_first(selection: Selection, ratings: list[float]) -> None:
    assert all(ratings[i] > ratings[j] for i, j in select(selection, ratings, 0))


def test_the_policies_on_one_list() -> None:
    ratings = [1000.0, 1300.0, 1100.0, 900.0]

    assert select("max_margin", ratings) == [(1, 3)]
    assert select("adjacent", ratings) == [(1, 2), (0, 3)]
    assert set(select("threshold", ratings, min_margin=0.5)) == {(1, 0), (1, 2), (1, 3), (2, 3)}
    assert sorted(itertools.chain(*select("random", ratings, 5, "p"))) == [0, 1, 2, 3]
    assert select("random", ratings, 5, "p") == select("random", ratings, 5, "p")


def test_ranking_puts_equal_ones_in_the_order_of_listing() -> None:
    assert ranking([1.0, 2.0, 1.0, 2.0]) == [1, 3, 0, 2]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 64])
def test_chunks_are_linear_in_n_and_link_everyone(n: int) -> None:
    pairs = chunks(n, 1, "p")

    assert len(pairs) == len(set(pairs)) <= (n - 1) * CHUNK / 2
    linked = {0}
    for _ in range(n):
        linked |= {place for pair in pairs if linked & set(pair) for place in pair}
    assert linked == set(range(n))


@given(st.integers(2, 20), st.integers(0, 5))
def test_swiss_rounds_never_repeat_a_pair_and_use_everyone_once(n: int, seed: int) -> None:
    met: set[tuple[int, int]] = set()
    scores = [0.0] * n
    for number in range(swiss_rounds(n)):
        pairs = swiss_round(scores, met, seed, number)
        assert not met & set(pairs)
        assert len({place for pair in pairs for place in pair}) == 2 * len(pairs)
        met |= set(pairs)
        for i, _ in pairs:
            scores[i] += 1


@pytest.mark.parametrize(("n", "nats"), [(1, 0.0), (4, 0.636), (16, 1.835), (64, 3.175), (256, 4.549)])
def test_the_divergence_of_the_best_of_n(n: int, nats: float) -> None:
    assert kl_of_best(n) == pytest.approx(nats, abs=5e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_expected_best_is_the_mean_over_all_subsets(n: int) -> None:
    scores = [random.Random(place).gauss() for place in range(7)]
    subsets = list(itertools.combinations(scores, n))

    assert expected_best(scores, n) == pytest.approx(sum(max(subset) for subset in subsets) / len(subsets))


def test_the_best_of_more_than_there_are_cannot_be_estimated() -> None:
    with pytest.raises(ValueError, match="best of 3"):
        expected_best([1.0, 2.0], 3)
    assert expected_best([1.0, 2.0], 2) == 2.0
    assert math.isclose(expected_best([1.0, 2.0], 1), 1.5)

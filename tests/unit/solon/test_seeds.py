"""Draws that depend on their key only."""

from solon.seeds import counter_seed, shuffled


def test_a_seed_depends_on_every_part_of_its_key():
    keys = [(0, "p", 1), (0, "p", 2), (1, "p", 1), (0, "q", 1), ("0", "p", 1), (0, "p1"), (0, "p", 1, "x")]
    assert len({counter_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= counter_seed(*key) < 2**31 for key in keys)


def test_seeds_do_not_change_between_versions():
    assert counter_seed(0, "p1", 0) == 2032618632


def test_a_shuffle_is_a_permutation_that_comes_back():
    items = tuple(range(20))
    assert shuffled(items, 0, "p") == shuffled(items, 0, "p") != items
    assert sorted(shuffled(items, 0, "p")) == list(items)


def test_shuffles_of_two_are_fair():
    first = sum(shuffled("ab", seed, "p")[0] == "a" for seed in range(2000))
    assert 900 < first < 1100

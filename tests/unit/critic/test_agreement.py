"""Agreement coefficients against values computed by hand and by other programs.

Reference values that are not worked out here come from scikit-learn 1.9.1 (kappa), irrCAC 0.4.4 (AC1 and AC2),
krippendorff 0.9.0 and evalica 0.4.2 (alpha).
"""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from critic.agreement import Closeness, bootstrap, cohen_kappa, gwet_ac2, krippendorff_alpha
from solon.intervals import Interval

SCALE = ("a", "tie", "b")
_CODES = {"a": "a", "t": "tie", "b": "b"}
IRREGULAR = [
    [_CODES[code] for code in unit if code != "-"]
    for unit in "aab a-b tta aaa b-t bbb -t- btb att ab- aat bba".split()  # noqa: SIM905 - a table
]
"""Twelve things, three raters, some missing; one thing with a single rating."""


def value(found: Interval | None) -> float:
    assert found is not None
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    return found.value


def test_kappa_worked_out_by_hand():
    # Both yes 20, first only 5, second only 10, both no 15: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert value(cohen_kappa(first, second)) == pytest.approx(0.4)


def test_ac1_and_alpha_worked_out_by_hand():
    # The table above. AC1: pi = 0.55, p_e = 2 * 0.55 * 0.45 / (2 * 1) * 2 = 0.495, (0.7 - 0.495) / 0.505.
    units = [["yes", "yes"]] * 20 + [["yes", "no"]] * 15 + [["no", "no"]] * 15
    assert value(gwet_ac2(units, ("no", "yes"), closeness="identity")) == pytest.approx(0.205 / 0.505)
    # Alpha: D_o = 0.3, D_e = 2 * 55 * 45 / (100 * 99) = 0.5.
    assert value(krippendorff_alpha(units, ("no", "yes"))) == pytest.approx(1 - 0.3 / 0.5)


def test_alpha_of_krippendorffs_own_example():
    # Krippendorff 2011, section C: four observers, twelve units, missing data; nominal 0.743, interval 0.849.
    columns = ["1 1 1", "2 2 3 2", "3 3 3 3", "3 3 3 3", "2 2 2 2", "1 2 3 4", "4 4 4 4", "1 1 2 1", "2 2 2 2"]
    columns += ["5 5 5", "1 1", "3"]
    units = [column.split() for column in columns]
    assert value(krippendorff_alpha(units, "12345")) == pytest.approx(0.743, abs=5e-4)
    assert value(krippendorff_alpha(units, "12345", closeness="quadratic")) == pytest.approx(0.849, abs=5e-4)


@pytest.mark.parametrize(
    ("closeness", "expected"), [("identity", 0.0473840338), ("linear", -0.0514937776), ("quadratic", -0.1497755976)]
)
def test_ac2_of_an_irregular_table_is_what_irrcac_says(closeness: Closeness, expected: float):
    assert value(gwet_ac2(IRREGULAR, SCALE, closeness=closeness)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("closeness", "expected"), [("identity", 0.10921501706), ("quadratic", 0.11611030479)])
def test_alpha_of_an_irregular_table_is_what_the_krippendorff_package_says(closeness: Closeness, expected: float):
    assert value(krippendorff_alpha(IRREGULAR, SCALE, closeness=closeness)) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.lists(st.sampled_from(SCALE), min_size=2, max_size=4), min_size=2, max_size=12))
@settings(max_examples=40, deadline=None)
def test_nominal_alpha_is_its_definition_over_pairs_of_ratings(units: list[list[str]]):
    n = sum(map(len, units))
    observed = sum(
        Fraction(sum(x != y for i, x in enumerate(unit) for j, y in enumerate(unit) if i != j), len(unit) - 1)
        for unit in units
    )
    ratings = [rating for unit in units for rating in unit]
    expected = Fraction(sum(x != y for i, x in enumerate(ratings) for j, y in enumerate(ratings) if i != j), n - 1)
    found = krippendorff_alpha(units, SCALE)
    if expected == 0:
        assert found is None
    else:
        assert value(found) == pytest.approx(float(1 - observed / expected))


def test_perfect_agreement_is_one_and_chance_is_about_zero():
    rng = random.Random(1)
    same = [rng.choice(SCALE) for _ in range(400)]
    other = [rng.choice(SCALE) for _ in range(400)]
    both, apart = [[x, x] for x in same], [[x, y] for x, y in zip(same, other, strict=True)]
    for perfect in (cohen_kappa(same, same), gwet_ac2(both, SCALE), krippendorff_alpha(both, SCALE)):
        assert value(perfect) == pytest.approx(1.0)
    for chance in (cohen_kappa(same, other), gwet_ac2(apart, SCALE), krippendorff_alpha(apart, SCALE)):
        assert chance is not None
        assert chance.low < 0 < chance.high


def test_skew_deflates_kappa_and_not_ac2():
    # 118 of 125 things are said to be "a" by both raters (Gwet 2008): kappa is below 0 although 94 % agree.
    first = ["a"] * 118 + ["a"] * 5 + ["b"] * 2
    second = ["a"] * 118 + ["b"] * 5 + ["a"] * 2
    assert value(cohen_kappa(first, second)) < 0
    units = [[x, y] for x, y in zip(first, second, strict=True)]
    assert value(gwet_ac2(units, ("a", "b"), closeness="identity")) > 0.9


@pytest.mark.parametrize("units", [[], [["a"]], [["a", "a"]] * 5])
def test_a_coefficient_that_is_not_defined_is_none(units: list[list[str]]):
    assert krippendorff_alpha(units, SCALE) is None
    if len(units) < 2:
        assert gwet_ac2(units, SCALE) is None


def test_kappa_of_two_raters_who_never_vary_is_not_defined():
    assert cohen_kappa(["a"] * 4, ["a"] * 4) is None


def test_answers_to_one_prompt_are_not_independent():
    rng = random.Random(2)
    values = [float(rng.random() < 0.5) for _ in range(40)]
    alone = bootstrap(values * 10)
    grouped = bootstrap(values * 10, list(range(40)) * 10)
    assert alone is not None
    assert grouped is not None
    assert alone.value == pytest.approx(grouped.value)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_the_interval_holds_the_true_value_about_as_often_as_it_says():
    held = 0
    for trial in range(100):
        rng = random.Random(trial)
        found = bootstrap([float(rng.random() < 0.7) for _ in range(80)], seed=trial)
        assert found is not None
        held += found.low <= 0.7 <= found.high
    assert held >= 86  # 95 expected; 86 has a chance below 0.1 % at the 92-93 % that n = 80 gives

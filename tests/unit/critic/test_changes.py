"""What became of labels, and whether noise would have done as much."""

import pytest

from critic.changes import Changes, Outcome, beside_noise, change, outcome, tally
from solon.intervals import difference, wilson
from solon.records import Discard, Status

A, B, TIE = Outcome(Status.OK, 0.9), Outcome(Status.OK, 0.2), Outcome(Status.TIE, 0.52)
LOST = Outcome(Status.TIMEOUT, None)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (A, A, "kept"),
        (TIE, TIE, "kept"),
        (A, Outcome(Status.OK, 0.6), "kept"),
        (A, B, "flipped"),
        (B, TIE, "became_tie"),
        (TIE, B, "became_decided"),
        (A, LOST, "unusable"),
        (LOST, A, "unusable"),
    ],
)
def test_every_change_has_a_name(before: Outcome, after: Outcome, expected: str) -> None:
    assert change(before, after) == expected


def test_a_label_that_became_a_discard_says_nothing() -> None:
    assert outcome(Discard(prompt_id="p", reason="nothing_applies")).side is None
    assert outcome(None).side is None


def test_shares_are_of_what_was_measured_before_and_after() -> None:
    found = tally([(A, A), (A, B), (TIE, A), (A, LOST), (LOST, A)])

    assert (found.n, found.unusable) == (3, 2)
    assert [found.count(each) for each in ("kept", "flipped", "became_tie", "became_decided")] == [1, 1, 0, 1]
    assert found.changed == wilson(2, 3)
    assert found.mean_shift == pytest.approx((0 + 0.7 + 0.38) / 3)


def changes(changed: int, n: int) -> Changes:
    return tally([(A, B)] * changed + [(A, A)] * (n - changed))


def test_what_judging_again_would_change_as_well_is_within_the_noise() -> None:
    assert beside_noise(changes(6, 200), changes(4, 100)).finding == "within_noise"
    assert beside_noise(changes(60, 200), changes(4, 100)).finding == "beyond_noise"
    assert beside_noise(changes(0, 200), changes(4, 100)).finding == "unchanged"
    assert beside_noise(changes(6, 200), None).finding == "noise_not_measured"
    assert beside_noise(tally([]), None).finding == "unchanged"


def test_two_measurements_of_one_share_differ_beyond_the_noise_about_as_rarely_as_the_interval_says() -> None:
    import random

    rng = random.Random(5)
    beyond = 0
    for _ in range(400):
        drawn = [sum(rng.random() < 0.1 for _ in range(n)) for n in (200, 100)]
        beyond += beside_noise(changes(drawn[0], 200), changes(drawn[1], 100)).finding == "beyond_noise"

    assert beyond <= 0.05 * 400


def test_the_interval_of_a_difference_is_newcombes() -> None:
    one, other = wilson(56, 70), wilson(48, 80)
    assert one is not None
    assert other is not None
    found = difference(one, other)

    # Newcombe 1998, table II, column (a), method 10
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)

"""Wilson's interval against published values."""

import pytest

from solon.intervals import wilson


def test_values_agree_with_published_ones():
    found = wilson(81, 263)  # Newcombe 1998, Statistics in Medicine 17:857, table I
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))


@pytest.mark.parametrize("n", [1, 7, 40, 399])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_bounds_hold_the_share_and_stay_in_range(n: int, share: float):
    found = wilson(share * n, n)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_no_trials_have_no_interval():
    assert wilson(0, 0) is None

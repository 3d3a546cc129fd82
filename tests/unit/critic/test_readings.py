"""Label probabilities from first-token log-probabilities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.readings import read_labels
from solon.chat import ChatChoice, TokenLogprob


def choice(**probabilities: float) -> ChatChoice:
    return from_tokens(list(probabilities.items()))


def from_tokens(tokens: list[tuple[str, float]]) -> ChatChoice:
    return ChatChoice("", "length", tuple(TokenLogprob(token, math.log(p)) for token, p in tokens))


def test_all_forms_of_a_label_count_together():
    tokens = [("A", 0.2), (" A", 0.1), ("(A", 0.05), ("\u2581A", 0.05), ("**A", 0.1), ("B", 0.3), ("\u0120B", 0.1)]
    reading = read_labels(from_tokens(tokens), ("A", "B"))
    assert reading.p_first == pytest.approx(0.5 / 0.9)
    assert reading.label_mass == pytest.approx(0.9)


def test_words_that_only_start_with_the_letter_do_not_count():
    reading = read_labels(choice(A=0.4, B=0.2, As=0.2, Both=0.1, a=0.1), ("A", "B"))
    assert reading.label_mass == pytest.approx(0.6)


def test_yes_and_no_count_in_any_case():
    reading = read_labels(from_tokens([("Yes", 0.3), (" yes", 0.3), ("NO", 0.2), ("no.", 0.2)]), ("Yes", "No"))
    assert reading.p_first == pytest.approx(0.6)
    assert reading.label_mass == pytest.approx(1.0)


def test_a_missing_label_is_bounded_by_the_least_returned_token():
    reading = read_labels(choice(A=0.9, The=0.04, It=0.02), ("A", "B"))
    assert reading.p_first == pytest.approx(0.9 / 0.92)
    assert reading.label_mass == pytest.approx(0.9)
    assert "B is not among 3 tokens" in reading.note


def test_a_missing_label_is_bounded_by_what_the_others_leave():
    reading = read_labels(choice(A=0.6, The=0.395), ("A", "B"))
    assert reading.p_first == pytest.approx(0.6 / 0.605)


def test_neither_label_is_no_reading():
    reading = read_labels(choice(The=0.6, It=0.3), ("A", "B"))
    assert (reading.p_first, reading.label_mass) == (None, 0.0)


def test_masked_labels_are_no_reading():
    masked = ChatChoice("", "length", (TokenLogprob("A", -9999.0), TokenLogprob("B", -9999.0), TokenLogprob("x", 0.0)))
    assert read_labels(masked, ("A", "B")).p_first is None


def test_no_log_probabilities_cannot_be_read():
    with pytest.raises(ValueError, match="log-probabilities"):
        read_labels(ChatChoice("A", "stop"), ("A", "B"))


@pytest.mark.parametrize("opening", ["I", " I", "Sorry", "I'm", "Unfortunately"])
def test_a_refusal_is_recognised_by_how_it_opens(opening: str):
    assert read_labels(from_tokens([(opening, 0.9), ("A", 0.01)]), ("A", "B")).refused
    assert not read_labels(choice(A=0.9, B=0.1), ("A", "B")).refused


@given(st.floats(1e-6, 0.5), st.floats(1e-6, 0.5))
def test_exchanging_the_labels_mirrors_the_reading(a: float, b: float):
    reply = choice(A=a, B=b)
    there, back = read_labels(reply, ("A", "B")), read_labels(reply, ("B", "A"))
    assert there.p_first is not None
    assert back.p_first is not None
    assert there.p_first == pytest.approx(1 - back.p_first)
    assert there.label_mass is not None
    assert 0 <= there.label_mass <= 1

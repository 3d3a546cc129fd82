"""Numbers measured on text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.rules.measures import MEASURES, finished_last_sentence, lines, repetition, sentences, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("One.", 1), ("One. Two", 2), ('"One!" she said. Two?', 3), ("3.5 metres", 1), ("Well... yes.", 2)],
)
def test_sentences_count_an_unfinished_last_one(text: str, expected: int) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("The end.", True), ('"The end!"', True), ("The end. \n", True), ("The", False), ("", False), ("a, b", False)],
)
def test_a_finished_text_ends_as_a_sentence_ends(text: str, expected: bool) -> None:
    assert finished_last_sentence(text) is expected


def test_repetition_is_the_share_of_trigrams_seen_before() -> None:
    assert repetition("a b c a b c") == pytest.approx(0.25)
    assert repetition("one two three four") == 0
    assert repetition("one two") == 0


def test_words_and_lines_ignore_blank_space() -> None:
    assert words("  two   words ") == 2
    assert lines("a\n\n b \n") == 2


@given(st.text())
def test_every_measure_takes_any_text(text: str) -> None:
    values = [measure(text) for measure in MEASURES.values()]

    assert all(value >= 0 for value in values)
    assert repetition(text) < 1

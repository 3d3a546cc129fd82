"""Numbers measured on text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.rules.languages import language, p_language
from critic.rules.measures import (
    MEASURES,
    bullets,
    finished_last_sentence,
    lines,
    paragraphs,
    reading_grade,
    repetition,
    sentences,
    valid_json,
    words,
)


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
    values = {name: measure(text) for name, measure in MEASURES.items()}

    assert all(value >= 0 for name, value in values.items() if name != "reading_grade")
    assert repetition(text) < 1


def test_paragraphs_and_list_items_are_counted() -> None:
    text = "Two things:\n\n- one\n- two\n\n \n1. first\n2) second\n-not an item\n**not one**"

    assert paragraphs(text) == 3
    assert bullets(text) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, null]}', True),
        (' "text" ', True),
        ("```json\n[1]\n```", True),
        ("```\n[1]\n```\n", True),
        ("Here it is: [1]", False),
        ("{'a': 1}", False),
        ("NaN", False),
        ("[1,]", False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_json_is_json_as_a_whole_or_in_one_fence(text: str, expected: bool) -> None:
    assert valid_json(text) is expected


def test_the_reading_grade_follows_its_formula_and_rises_with_long_words() -> None:
    text = "The cat sat. The dog ran."  # 18 letters, 6 words, 2 sentences

    assert reading_grade(text) == pytest.approx(4.71 * 18 / 6 + 0.5 * 6 / 2 - 21.43)
    assert reading_grade("Administrative responsibilities necessitate documentation.") > reading_grade(text)
    assert reading_grade("") == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The cat sat on the mat.", "en"),
        ("Der Hund schläft auf dem Sofa.", "de"),
        ("Bonjour tout le monde", "fr"),
        ("मैं घर जा रहा हूँ", "hi"),
        ("我今天很高兴", "zh"),
        ("ok", None),
        ("12345", None),
        ("", None),
    ],
)
def test_the_language_of_a_text_is_told_or_left_open(text: str, code: str | None) -> None:
    assert language(text) == code
    if code is not None:
        assert p_language(text, code) > 0.5
        assert p_language(text, "sw") < 0.1


def test_a_region_does_not_change_the_language() -> None:
    assert p_language("我今天很高兴", "zh-CN") == p_language("我今天很高兴", "zh")

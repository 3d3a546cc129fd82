"""Instructions that can be checked without a judge."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critic.rules.instructions import INSTRUCTIONS, check, checks
from solon.errors import InvalidInput

IFEVAL = Path(__file__).parents[4] / "shared" / "data" / "verifiable" / "ifeval_dev.jsonl"
ENGLISH = "wash the rice in cold water and then cook it slowly"

EXAMPLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "keywords:existence": ({"keywords": ["sky", "c++"]}, "The Sky. C++!", "The sky. C."),
    "keywords:frequency": ({"keyword": "a.b", "frequency": 2, "relation": "at least"}, "a.b A.B", "a.b axb"),
    "keywords:forbidden_words": ({"forbidden_words": ["cat"]}, "concatenate", "a Cat."),
    "keywords:letter_frequency": ({"letter": "q", "let_frequency": 2, "let_relation": "less than"}, "Q", "qQ"),
    "language:response_language": ({"language": "de"}, "Der Hund schläft auf dem Sofa.", ENGLISH),
    "length_constraints:number_sentences": ({"num_sentences": 2, "relation": "less than"}, "One.", "One. Two."),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
    "length_constraints:number_words": ({"num_words": 3, "relation": "at least"}, "one, two three", "one two"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
        "First.\n\n'So, this.",
        "So.\n\nFirst.",
    ),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "Hello.\np. s. bye", "Hello, upset."),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[name] [place]", "[name]"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n- b", "* a\n- b\n* c"),
    "detectable_format:title": ({}, "<<A title>>\ntext", "<<  >>\ntext"),
    "detectable_format:constrained_response": ({}, "My answer is maybe.", "Maybe."),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*a* and **b**", "*a* and ** **"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\nSections",
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', "{a: 1}"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Why?"}, "why? Because.", "Because."),
    "combination:two_responses": ({}, "a\n******\nb", "a\n******\na"),
    "change_case:english_capital": ({}, ENGLISH.upper(), ENGLISH.title()),
    "change_case:english_lowercase": ({}, ENGLISH, ENGLISH.capitalize()),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        "READ the FILE",
        "READ the File",
    ),
    "startend:end_checker": ({"end_phrase": "The end."}, 'So "the END."', "The end. Or not."),
    "startend:quotation": ({}, '"All of it."', '"All" of it.'),
    "punctuation:no_comma": ({}, "a b", "a, b"),
}


def test_every_instruction_has_an_example() -> None:
    assert EXAMPLES.keys() == INSTRUCTIONS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_instruction_tells_the_text_that_follows_it_from_the_one_that_does_not(name: str) -> None:
    arguments, follows, breaks = EXAMPLES[name]
    holds = check(name, arguments, field="here")

    assert holds(follows)
    assert not holds(breaks)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("keywords:rhyme", {}, "unknown instruction 'keywords:rhyme'"),
        ("length_constraints:number_words", {"num_words": 3}, "relation"),
        ("length_constraints:number_words", {"num_words": "3", "relation": "at least"}, "num_words"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "more"}, "relation"),
        ("punctuation:no_comma", {"num_words": 3}, "num_words"),
    ],
)
def test_unknown_instructions_and_arguments_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        check(name, arguments, field="row 7")

    assert raised.value.field == "row 7"


@pytest.mark.parametrize(
    "metadata",
    [
        {"instruction_id_list": "punctuation:no_comma"},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": []},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [7]},
        {"instruction_id_list": [7]},
    ],
)
def test_a_list_of_instructions_must_be_one(metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        checks(metadata, field="row 7")


def test_arguments_written_as_none_are_left_out_and_a_prompt_may_list_nothing() -> None:
    listed = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_words": None, "letter": None}]}

    assert [holds("a, b") for holds in checks(listed, field="here")] == [False]
    assert checks({}, field="here") == ()


@given(st.sampled_from(sorted(EXAMPLES)), st.text())
def test_every_check_takes_any_text(name: str, text: str) -> None:
    assert check(name, EXAMPLES[name][0], field="here")(text) in (True, False)


def test_every_prompt_of_ifeval_can_be_checked() -> None:
    if not IFEVAL.exists():
        pytest.skip(f"no data at {IFEVAL}")
    rows = [json.loads(line) for line in IFEVAL.read_text(encoding="utf-8").splitlines()]

    found = [len(checks(row, field=str(row["key"]))) for row in rows]

    assert len(found) == 270
    assert min(found) >= 1

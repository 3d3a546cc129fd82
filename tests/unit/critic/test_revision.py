"""Revisions that are no good by their words, and how refusals are recognised."""

import pytest

from critic.refusals import refuses
from critic.revision import Draft, fault
from solon.records import Completion, Message, Prompt

ORIGINAL = "Bread needs flour, water and salt. It is easy, you fool."
CRITIQUE = "The response calls the person a fool, which hurts and helps nobody at all."


def draft(
    revision: str, *, critique: str = CRITIQUE, finish: str = "stop", asked: str = "How do I bake?", benign: bool = True
) -> Draft:
    prompt = Prompt(id="p", messages=(Message(role="user", content=asked),), metadata={"benign": benign})
    original = Completion(text=ORIGINAL)
    written = Completion.model_validate({"text": revision, "finish_reason": finish})
    return Draft(prompt, original, original.text, critique, written)


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        ("Bread needs flour, water and salt. It is easy.", None),
        ("  \n", "empty_revision"),
        (ORIGINAL, "unchanged_revision"),
        ("bread needs flour water and salt; it is easy, you fool", "unchanged_revision"),
        (CRITIQUE, "repeats_critique"),
        (f"Well: {CRITIQUE} Bread needs flour.", "repeats_critique"),
        ("Here is the revised response: bread needs flour.", "speaks_of_revision"),
        ("Following the critique, bread needs flour.", "speaks_of_revision"),
        ("I'm sorry, but I can't help with that.", "refuses_benign"),
    ],
)
def test_a_fault_is_named(revision: str, reason: str | None):
    assert fault(draft(revision)) == reason


def test_a_cut_revision_is_a_fault():
    assert fault(draft("Bread needs flour and", finish="length")) == "cut_revision"


def test_a_critique_that_quotes_the_response_is_not_repeated_by_keeping_what_it_quotes():
    quoting = 'It says "Bread needs flour, water and salt. It is easy, you fool."'
    assert fault(draft("Bread needs flour, water and salt. It is easy.", critique=quoting)) is None


def test_words_that_the_dialogue_brought_up_may_be_used():
    assert fault(draft("Plan your revision early.", asked="How do I plan revision for an exam?")) is None


def test_only_a_known_benign_prompt_may_not_be_refused():
    assert fault(draft("I cannot help with that.", benign=False)) is None


@pytest.mark.parametrize(
    "text",
    [
        "I cannot help with that.",
        "No, I will not help with this.",
        "Sorry, that is not something I do.",
        "I have to decline.",
        "I would rather not help you forge the signature of your landlord, but I can help you ask.",
        "I will leave that one out, but I am happy to help you find a good book about it.",
        "I\u2019m sorry, but I can\u2019t assist with that request.",
        "I am not able to provide instructions for this.",
    ],
)
def test_usual_refusals_are_recognised(text: str):
    assert refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "First, wash the rice in cold water.",
        "I am sorry to hear that you feel stressed. Try a walk.",
        "No, whales are mammals.",
        "Unfortunately, it will rain tomorrow.",
        "You cannot help liking this cake.",
        "x" * 300 + " I cannot help with that.",
    ],
)
def test_other_texts_are_no_refusals(text: str):
    assert not refuses(text)

"""No evaluation prompt survives decontamination, and clean pairs do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from critic.contamination import NEAR, OVERLAP, SAME, Decontaminator, decontaminated
from critic.wording import words
from solon.records import Discard, Message, PreferencePair, Prompt
from tests.unit.critic.test_duplicates import pair

ASKED = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many in all?"
)


def prompt(*turns: str) -> Prompt:
    roles = ["user", "assistant"] * len(turns)
    messages = [Message(role=role, content=turn) for role, turn in zip(roles, turns, strict=False)]  # type: ignore[arg-type]
    return Prompt(id="e1", messages=tuple(messages))


def against(*prompts: Prompt) -> Decontaminator:
    known = Decontaminator()
    for index, each in enumerate(prompts):
        known.add(each, f"eval.jsonl: {index}")
    return known


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (pair(ASKED, "72", "70"), SAME),
        (pair(ASKED.upper().replace(",", " - "), "72", "70"), SAME),
        (pair(f"Solve this, and show your work: {ASKED} Thank you!", "72", "70"), OVERLAP),
        (pair("Write me a riddle.", f"Here is one. {ASKED}", "No."), OVERLAP),
        (pair(ASKED.replace("April", "June").replace("48", "50"), "72", "70"), OVERLAP),
        (pair("He sold six cars, and then she sold half as many boats.", "72", "70"), None),
        (pair(ASKED.replace("Natalia", "Anna"), "72", "70"), OVERLAP),
        (pair("How many clips did she sell in all?", "72", "70"), None),
    ],
)
def test_what_counts_as_contaminated(found: PreferencePair, reason: str | None):
    (item,) = decontaminated([found], against(prompt(ASKED)))
    assert (item.reason if isinstance(item, Discard) else None) == reason
    if isinstance(item, Discard):
        assert item.detail.startswith("eval.jsonl: 0")
        assert item.pair == found


def test_an_edited_prompt_is_found_by_its_likeness():
    known = against(prompt(" ".join(f"w{i}" for i in range(60))))
    known.covered = 2.0  # never
    edited = " ".join("new" if i == 30 else f"w{i}" for i in range(60))
    (item,) = decontaminated([pair(edited, "a", "b")], known)
    assert isinstance(item, Discard)
    assert item.reason == NEAR


def test_a_short_prompt_contaminates_only_where_it_is_asked():
    known = against(prompt("Why?"))
    assert isinstance(known.check(pair("why", "a", "b")), Discard)
    assert known.check(pair("Tell me why?", "Why? Because.", "b")) is None


def test_a_short_last_turn_contaminates_with_its_conversation():
    known = against(prompt("What is rye?", "A grain.", "Why?"))
    inside = pair("x", "a", "b").model_copy(update={"prompt": prompt("What is rye?", "Cereal.", "why", "So.", "And?")})
    assert isinstance(known.check(inside), Discard)
    assert known.check(pair("Why?", "a", "b")) is None


TEXTS = st.lists(st.sampled_from(["how", "do", "bread", "Tea", "7", "x"]), min_size=1, max_size=14).map(" ".join)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=12), st.data())
@settings(max_examples=60)
def test_no_evaluation_prompt_survives(evaluation: list[str], rows: list[tuple[str, str, str]], data: st.DataObject):
    planted = [(data.draw(TEXTS) + "; " + each.upper() + "?", "a", "b") for each in evaluation]
    asked = [(each + "!", "a", "b") for each in evaluation]
    pairs = [pair(*each) for each in [*rows, *planted, *asked]]
    known = against(*(prompt(each) for each in evaluation))
    for left in decontaminated(pairs, known):
        if isinstance(left, Discard):
            continue
        for each in map(words, evaluation):
            assert words(left.prompt.text) != each
            if len(each) >= known.run_words:
                for text in (left.prompt.text, left.a.text, left.b.text):
                    assert f" {' '.join(each)} " not in f" {' '.join(words(text))} "

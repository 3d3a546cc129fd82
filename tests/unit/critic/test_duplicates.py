"""Duplicates and near-duplicates are found once, whatever the order of listing, and nothing else is."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from critic.duplicates import CONTRADICTION, DUPLICATE, NEAR_DUPLICATE, deduplicated
from solon.records import Completion, Discard, Message, PreferencePair, Prompt, Provenance, Status

MADE = Provenance(constitution="c", constitution_version="1", constitution_hash="h")
LONG = " ".join(f"word{i}" for i in range(60))
OTHER = " ".join(f"term{i}" for i in range(60))


def pair(asked: str, a: str, b: str, name: str = "p", chosen: str = "a") -> PreferencePair:
    prompt = Prompt(id=name, messages=(Message(role="user", content=asked),))
    label = {"chosen": chosen, "p_chosen": 0.9, "p_a": 0.9 if chosen == "a" else 0.1, "margin": 0.8}
    sides = {"a": Completion(text=a), "b": Completion(text=b)}
    return PreferencePair.model_validate(
        {"id": f"pref_{name}", "status": Status.OK, "prompt": prompt, **sides, **label, "provenance": MADE}
    )


def kept(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    return [item for item in deduplicated(pairs) if isinstance(item, PreferencePair)]


def reasons(*pairs: PreferencePair) -> list[str]:
    return [item.reason for item in deduplicated(pairs) if isinstance(item, Discard)]


def test_the_first_of_equal_pairs_is_kept_and_the_others_name_it():
    items = list(deduplicated([pair("Hi", "x", "y", "one"), pair("Hi", "x", "y", "two")]))
    assert isinstance(items[1], Discard)
    assert (items[1].reason, items[1].detail) == (DUPLICATE, "of pref_one")
    assert items[1].pair is not None
    assert items[1].pair.id == "pref_two"


def test_a_pair_listed_the_other_way_round_is_the_same_pair():
    assert reasons(pair("Hi", "x", "y"), pair("Hi", "y", "x", chosen="b")) == [DUPLICATE]


def test_the_same_texts_with_another_label_contradict():
    assert reasons(pair("Hi", "x", "y"), pair("Hi", "x", "y", chosen="b")) == [CONTRADICTION]


def test_small_changes_in_long_texts_make_a_near_duplicate():
    changed = LONG.replace("word30", "another")
    assert reasons(pair(LONG, OTHER, LONG), pair(changed, LONG, OTHER.upper() + "!")) == [NEAR_DUPLICATE]


def test_the_same_answers_to_another_question_are_no_duplicate():
    assert reasons(pair("How do I bake bread?", LONG, OTHER), pair("Who wrote this song?", LONG, OTHER)) == []


def test_other_answers_to_the_same_question_are_no_duplicate():
    assert reasons(pair(LONG, "yes " * 9, "no " * 9), pair(LONG, OTHER, LONG)) == []


@given(st.lists(st.tuples(*[st.text("ab ", max_size=12)] * 3), max_size=30))
@settings(max_examples=40)
def test_deduplication_is_idempotent(texts: list[tuple[str, str, str]]):
    once = kept([pair(*each, name=str(i)) for i, each in enumerate(texts)])
    assert kept(once) == once


def test_deduplication_of_near_duplicates_is_idempotent():
    variants = [LONG.replace(f"word{i}", "x").replace(f"word{2 * i}", "y") for i in range(40)]
    once = kept([pair(each, OTHER, each, str(i)) for i, each in enumerate(variants)])
    assert 1 <= len(once) < 40
    assert kept(once) == once

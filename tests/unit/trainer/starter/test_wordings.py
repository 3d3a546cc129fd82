"""Wordings of principles: grammar, directions, held-out combinations."""

import random

import pytest

from trainer.starter import corpus
from trainer.starter.oracle import read
from trainer.starter.wordings import criteria, criticised, critique, principle, proposition, value, wordings
from trainer.starter.world import sample_prompts


def test_the_oracle_can_read_every_criterion() -> None:
    reading = read(sample_prompts("train", 1, seed=0)[0].text, "I cannot help with that.")

    assert all(value(criterion, reading) in (0.0, 0.5, 1.0, None) for criterion in criteria())
    with pytest.raises(ValueError, match="taste"):
        value("taste", reading)


def test_negated_and_opposite_wordings_ask_for_the_same_pole() -> None:
    rng = random.Random(0)
    asked = {principle("rude", -1, rng, "train").principle for _ in range(600)}

    assert "The reply should be polite." in asked
    assert any(text.startswith("The reply should not ") for text in asked)
    assert not any(text.endswith(" should be rude.") or text.endswith(" must be rude.") for text in asked)


def test_held_out_wordings_are_new_combinations_of_known_words() -> None:
    rng = random.Random(0)
    draws = {
        split: [principle(c, d, rng, split).principle for c in criteria() for d in (1, -1) for _ in range(400)]
        for split in ("train", "eval")
    }  # type: ignore[arg-type]
    known = {word for text in draws["train"] for word in text.strip(".").lower().split()}

    assert not set(draws["train"]) & set(draws["eval"])
    assert {word for text in draws["eval"] for word in text.strip(".").lower().split()} <= known


def test_every_predicate_reads_as_english_in_every_form() -> None:
    rng = random.Random(1)
    texts = {
        proposition(c, d, rng, s).text
        for c in criteria()
        for d in (1, -1)
        for s in ("train", "eval")
        for _ in range(300)
    }  # type: ignore[arg-type]

    assert not [text for text in texts if "Does the response be " in text or "  " in text or "{" in text]
    assert len(texts) > 20 * len(criteria())


def test_the_labels_of_a_swapped_pair_are_mirrored() -> None:
    rng = random.Random(2)
    for _ in range(200):
        pair = corpus.draw_pair(rng, "eval")
        for criterion in criteria():
            p, swapped, opposite = (
                pair.preference(criterion, 1),
                pair.swap().preference(criterion, 1),
                pair.preference(criterion, -1),
            )
            assert p is None or (swapped == 1 - p == opposite)


def test_judge_prompts_are_the_critics_templates() -> None:
    rng = random.Random(4)
    questions = corpus.pair_questions(corpus.draw_pair(rng, "train"), rng, "train", count=8, about_one=0.0)

    text = questions.prefix + questions.questions[0].text
    assert questions.prefix.endswith("[/B]")
    assert text.endswith("Answer with A or B.<|end|><|assistant|>")
    assert len(wordings()["criteria"]) == len(criteria())


def test_a_critique_says_which_fault_it_found() -> None:
    rng = random.Random(5)
    for criterion in criteria():
        assert criticised(critique(criterion, 1, rng)) == (criterion, -1)
        assert criticised(critique(criterion, -1, rng)) == (criterion, 1)
    assert criticised(wordings()["follows"]) is None


def test_a_revision_keeps_the_principle_and_a_completion_that_keeps_it_stays() -> None:
    rng = random.Random(6)
    seen: set[bool] = set()
    for _ in range(300):
        prompt, drawn = corpus.draw_rewriting(rng, "eval", count=1)
        critical, revising = drawn.questions
        assert critical.about is not None
        criterion, direction = critical.about
        follows = critical.reply == wordings()["follows"]
        seen.add(follows)
        if follows:
            assert revising.reply == drawn.completions[0]
        else:
            assert criticised(critical.reply) == (criterion, -direction)
        assert value(criterion, read(prompt.text, revising.reply)) == float(direction == 1)
    assert seen == {True, False}

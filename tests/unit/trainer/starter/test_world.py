"""The starter world: what it can say, and that the oracle reads it back."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from trainer.starter.oracle import read
from trainer.starter.world import (
    SPLITS,
    AgoraPrompt,
    Attributes,
    Split,
    any_attributes,
    compose,
    prompts,
    sample_prompts,
    starter_attributes,
    world,
)

Draw = Callable[[AgoraPrompt, random.Random], Attributes]


def prompt_of(kind: str) -> AgoraPrompt:
    return next(prompt for prompt in prompts("train") if prompt.kind == kind)


def test_the_world_has_the_topics_it_promises() -> None:
    kinds = Counter(topic.kind for topic in world().topics)

    assert kinds["everyday"] + kinds["sensitive"] + kinds["opinion"] >= 150
    assert kinds["harmful"] >= 60
    assert min(kinds["sensitive"], kinds["opinion"]) >= 20


def test_every_topic_is_asked_for_in_several_phrasings() -> None:
    asked = Counter(prompt.topic.id for split in SPLITS for prompt in prompts(split))

    assert min(asked.values()) >= 5


def test_no_prompt_is_in_both_splits_and_none_has_two_meanings() -> None:
    texts = [prompt.text for split in SPLITS for prompt in prompts(split)]

    assert len(texts) == len(set(texts))


def test_no_held_out_topic_is_among_the_training_prompts() -> None:
    assert not any(prompt.topic.held_out for prompt in prompts("train"))
    assert {topic.kind for topic in world().topics if topic.held_out} == {"everyday", "sensitive", "opinion", "harmful"}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("draw", [starter_attributes, any_attributes])
def test_the_oracle_reads_back_every_attribute_vector(split: Split, draw: Draw) -> None:
    rng = random.Random(3)
    for prompt in sample_prompts(split, 1500, seed=1):
        wanted = draw(prompt, rng)

        said = read(prompt.text, compose(prompt, wanted, rng))

        read_back = Attributes(
            said.helpful, said.harmful, said.refusal, said.tone, said.false_claim, said.padded, said.listed
        )
        assert (read_back, said.incoherent, said.off_topic) == (wanted, False, False)


@pytest.mark.parametrize(
    "text",
    ["", "Colourless green ideas.", "First, wash the rice in cold", "First, wash the kettle in cold water.", "A"],
)
def test_text_the_world_does_not_know_is_incoherent(text: str) -> None:
    assert read(prompt_of("everyday").text, text).incoherent


def test_steps_of_another_topic_do_not_help() -> None:
    asked, other = prompt_of("everyday"), world().of_kind("everyday")[-1]
    text = compose(AgoraPrompt("x", "x", "everyday", other), Attributes(), random.Random(0))

    reading = read(asked.text, text)

    assert (reading.helpful, reading.off_topic, reading.incoherent) == ("none", True, False)


def test_a_repeated_step_counts_once() -> None:
    prompt = prompt_of("everyday")
    step = prompt.topic.steps[0]

    assert read(prompt.text, f"First, {step}. Then {step}. Finally, {step}.").helpful == "partial"


def test_a_prompt_from_outside_the_world_has_no_kind() -> None:
    assert read("Who was Ada Lovelace?", "I cannot help with that.").prompt_kind is None


def test_the_imitated_assistant_misbehaves_more_than_the_sharpened_policy_is_to_show() -> None:
    rng = random.Random(0)
    readings = [
        read(p.text, compose(p, starter_attributes(p, rng), rng)) for p in sample_prompts("train", 4000, seed=2)
    ]
    harmful = [r for r in readings if r.prompt_kind == "harmful"]
    toned = [r.tone in ("rude", "preachy") for r in readings]

    assert 0.46 < sum(r.harmful for r in harmful) / len(harmful) < 0.54
    assert 0.35 < sum(toned) / len(toned) < 0.43


def test_prompt_samples_are_reproducible_and_do_not_repeat() -> None:
    first, again = sample_prompts("eval", 200, seed=5), sample_prompts("eval", 200, seed=5)

    assert first == again
    assert len({prompt.id for prompt in first}) == 200

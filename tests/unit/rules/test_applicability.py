"""Propositions that may not apply, and measures that need something of the prompt."""

from typing import Any

import pytest

from critic.rules import RuleSet
from solon.errors import InvalidInput
from solon.records import Completion, Message, Prompt
from tests.unit.rules.test_ruleset import classes, constitution, rule

APOLOGISES = {"id": "apologises", "kind": "judge", "question": "Does it apologise?"}
SINCERE = {"id": "sincere", "kind": "judge", "question": "Is it sincere?", "only_if": "apologises"}
ANSWER = {"id": "right", "kind": "measure", "measure": "correct_answer"}


def prompt(text: str = "What is 6 times 7?", **metadata: Any) -> Prompt:
    return Prompt(id="p", messages=(Message(role="user", content=text),), metadata=metadata)


class Answers:
    """Answers by question; remembers what was asked."""

    def __init__(self, **answers: float | None) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, prompt: Prompt, completion: Completion, question: str) -> float | None:
        self.asked.append(question)
        return self.answers[question.rstrip("?").split()[-1]]


@pytest.mark.parametrize(
    ("apologise", "sincere", "asked"),
    [(0.9, 0.2, 2), (0.1, "not_applicable", 1), (None, None, 1)],
)
async def test_a_question_is_asked_only_where_it_applies(apologise: float | None, sincere: Any, asked: int) -> None:
    rules = RuleSet(constitution(propositions=[APOLOGISES, SINCERE], rules=[rule("!sincere", -1.0)]))
    judge = Answers(apologise=apologise, sincere=0.2)

    score = await rules.score(prompt(), Completion(text="Sorry."), judge)

    assert score.propositions == {"apologises": apologise, "sincere": sincere}
    assert len(judge.asked) == asked
    assert score.reward == (-1.0 if asked == 2 else 0.0)


async def test_what_does_not_apply_fires_no_rule_in_either_direction() -> None:
    rules = RuleSet(constitution(propositions=[ANSWER], rules=[rule("right", 1.0, "a"), rule("!right", -1.0, "b")]))

    async def reward(text: str, asked: Prompt) -> float:
        return (await rules.score(asked, Completion(text=text))).reward

    assert await reward("#### 42", prompt(answer=42)) == 1.0
    assert await reward("#### 41", prompt(answer="42")) == -1.0
    assert await reward("#### 42", prompt()) == 0.0


def test_whether_a_proposition_applies_can_be_asked_in_a_condition() -> None:
    rules = RuleSet(
        constitution(
            propositions=[APOLOGISES, SINCERE, ANSWER],
            rules=[rule("right_applies", 1.0, "a"), rule("sincere_applies", 10.0, "b")],
            classes=classes("right_applies && right", "right_applies && !right", "!right_applies"),
        )
    )

    known = rules.classify({"right": False, "apologises": True, "sincere": True})
    other = rules.classify({"right": "not_applicable", "apologises": False})

    assert (known.score.reward, known.completion_class) == (11.0, "c1")
    assert (other.score.reward, other.completion_class) == (0.0, "c2")


@pytest.mark.parametrize(
    ("whens", "message"),
    [
        (("right", "!right"), "cannot be decided when right does not apply"),
        (("sincere", "!sincere"), "cannot be decided when !apologises, sincere does not apply"),
        (("right_applies", "right"), "both|cannot be decided"),
    ],
)
def test_classes_must_hold_where_a_proposition_does_not_apply_too(whens: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        RuleSet(constitution(propositions=[APOLOGISES, SINCERE, ANSWER], classes=classes(*whens)))


def test_classes_over_a_question_that_does_not_always_apply_can_partition() -> None:
    whens = ("!apologises", "apologises && sincere", "apologises && !sincere")

    RuleSet(constitution(propositions=[APOLOGISES, SINCERE], classes=classes(*whens)))


def test_a_derived_proposition_that_is_open_only_for_that_does_not_apply_either() -> None:
    derived = {"id": "cold", "kind": "derived", "when": "!sincere"}
    rules = RuleSet(constitution(propositions=[APOLOGISES, SINCERE, derived], rules=[rule("cold")]))

    assert rules.classify({"apologises": False}).derived == {"cold": "not_applicable"}
    assert rules.classify({"apologises": True}).derived == {"cold": None}


@pytest.mark.parametrize(
    ("name", "value"), [("apologises", "not_applicable"), ("sincere", "n/a"), ("sincere_applies", True)]
)
def test_not_applicable_is_given_only_where_it_can_be(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        RuleSet(constitution(propositions=[APOLOGISES, SINCERE])).classify({name: value})


@pytest.mark.parametrize(
    "propositions",
    [
        [ANSWER, {"id": "right_applies", "kind": "regex", "pattern": "x"}],
        [{"id": "right_applies", "kind": "regex", "pattern": "x"}, ANSWER],
    ],
)
def test_the_names_that_say_what_applies_are_taken(propositions: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidInput, match="_applies"):
        RuleSet(constitution(propositions=propositions))


def test_a_question_may_depend_only_on_what_stands_before_it() -> None:
    with pytest.raises(InvalidInput, match=r"unknown proposition 'apologises'"):
        RuleSet(constitution(propositions=[SINCERE, APOLOGISES]))


async def test_the_share_of_the_prompts_own_instructions_is_measured() -> None:
    share = {"id": "share", "kind": "measure", "measure": "instructions_followed"}
    all_of_them = {"id": "obeys", "kind": "measure", "measure": "instructions_followed", "op": "==", "value": 1.0}
    rules = RuleSet(
        constitution(propositions=[share, all_of_them], rules=[rule("share > 0.4", 1.0, "a"), rule("obeys", 10.0, "b")])
    )
    listed = prompt(
        instruction_id_list=["punctuation:no_comma", "startend:quotation"], kwargs=[{"num_words": None}, {}]
    )

    half = await rules.score(listed, Completion(text='"a, b"'))
    none_listed = await rules.score(prompt(), Completion(text='"a, b"'))

    assert (half.reward, half.propositions) == (1.0, {"share": 0.5, "obeys": False})
    assert (await rules.score(listed, Completion(text='"a b"'))).reward == 11.0
    assert none_listed.propositions == {"share": "not_applicable", "obeys": "not_applicable"}


async def test_a_completion_is_held_to_the_language_of_its_prompt_or_to_a_named_one() -> None:
    same = {"id": "same", "kind": "measure", "measure": "language", "op": ">=", "value": 0.5}
    german = {"id": "german", "kind": "measure", "measure": "language", "language": "de", "op": ">=", "value": 0.5}
    rules = RuleSet(constitution(propositions=[same, german], rules=[rule("same", 1.0, "a"), rule("german", 2.0, "b")]))
    answer = Completion(text="Der Hund schläft auf dem Sofa.")

    assert (await rules.score(prompt("Wo schläft der Hund heute Nacht?"), answer)).fired == ("a", "b")
    assert (await rules.score(prompt("Where does the dog sleep tonight?"), answer)).fired == ("b",)
    assert (await rules.score(prompt("42?"), answer)).propositions == {"same": "not_applicable", "german": True}


@pytest.mark.parametrize("answer", ["#### 42", "It is 41.", "Yes."])
async def test_no_rule_holds_an_answer_too_short_to_tell_its_language_against_it(answer: str) -> None:
    same = {"id": "same", "kind": "measure", "measure": "language", "op": ">=", "value": 0.5}
    rules = RuleSet(constitution(propositions=[same], rules=[rule("same", 1.0, "own"), rule("!same", -1.0, "foreign")]))

    score = await rules.score(prompt("What is 6 times 7?"), Completion(text=answer))

    assert (score.fired, score.propositions) == ((), {"same": "not_applicable"})


@pytest.mark.parametrize("metadata", [{"answer": True}, {"answer": ["4"]}, {"instruction_id_list": ["keywords:rhyme"]}])
async def test_metadata_that_cannot_be_read_names_the_row(metadata: dict[str, Any]) -> None:
    share = {"id": "share", "kind": "measure", "measure": "instructions_followed"}
    rules = RuleSet(constitution(propositions=[ANSWER, share], rules=[rule("right || share > 0.5")]))

    with pytest.raises(InvalidInput) as raised:
        await rules.score(prompt(**metadata), Completion(text="4"))

    assert (raised.value.field or "").startswith("row p: metadata.")

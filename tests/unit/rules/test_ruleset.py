"""Rules on completions: rewards, unknown propositions, scopes, and the law of classes."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constitution.document import Constitution, load
from critic.rules import RuleSet
from solon.errors import InvalidInput
from solon.records import Completion, Message, Prompt

QUESTION = {"id": "refuses", "kind": "judge", "question": "Does it refuse?"}
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Tell me a story."),))


def constitution(**fields: Any) -> Constitution:
    """A rule-only constitution with these fields; lists become tuples."""
    base: dict[str, Any] = {"format": "constitution/v1", "id": "test", "title": "Test", "version": "1.0.0"}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return Constitution.model_validate(base | {"rules": ({"id": "r", "when": "true", "reward": 0.0},)} | plain)


def regex(name: str, pattern: str) -> dict[str, Any]:
    return {"id": name, "kind": "regex", "pattern": pattern}


def rule(when: str, reward: float = 1.0, name: str = "r", **fields: Any) -> dict[str, Any]:
    return {"id": name, "when": when, "reward": reward, **fields}


def text(words: str) -> Completion:
    return Completion(text=words)


class Judge:
    """Answers every question with one probability and remembers what was asked."""

    def __init__(self, p_yes: float | None) -> None:
        self.p_yes = p_yes
        self.asked: list[str] = []

    async def __call__(self, prompt: Prompt, completion: Completion, question: str) -> float | None:
        self.asked.append(question)
        return self.p_yes


async def test_the_reward_is_the_sum_of_the_rules_that_hold() -> None:
    rules = RuleSet(
        constitution(
            propositions=[regex("kind", r"\bkind\b"), regex("mean", r"\bmean\b")],
            rules=[rule("kind", 1.0, "a"), rule("mean", -2.0, "b"), rule("kind && !mean", 0.5, "c")],
        )
    )

    score = await rules.score(PROMPT, text("a kind fox"))

    assert score.reward == 1.5
    assert score.fired == ("a", "c")
    assert score.propositions == {"kind": True, "mean": False}
    assert not rules.needs_judge


@pytest.mark.parametrize(("p_yes", "reward"), [(0.9, 1.0), (0.5, 1.0), (0.49, 0.0)])
async def test_a_judge_proposition_holds_from_one_half_on_and_keeps_its_probability(
    p_yes: float, reward: float
) -> None:
    rules = RuleSet(constitution(propositions=[QUESTION], rules=[rule("refuses")]))

    score = await rules.score(PROMPT, text("No."), Judge(p_yes))

    assert rules.needs_judge
    assert score.reward == reward
    assert score.propositions == {"refuses": p_yes}


@pytest.mark.parametrize("when", ["refuses", "!refuses", "refuses && kind", "refuses || mean"])
async def test_a_rule_that_depends_on_an_unanswered_proposition_does_not_fire(when: str) -> None:
    propositions = [QUESTION, regex("kind", "kind"), regex("mean", "mean")]
    rules = RuleSet(constitution(propositions=propositions, rules=[rule(when)]))

    score = await rules.score(PROMPT, text("kind"), Judge(None))

    assert score.reward == 0.0
    assert score.propositions["refuses"] is None


async def test_an_unanswered_proposition_does_not_matter_where_the_others_decide() -> None:
    rules = RuleSet(constitution(propositions=[QUESTION, regex("kind", "kind")], rules=[rule("refuses || kind")]))

    assert (await rules.score(PROMPT, text("kind"), Judge(None))).reward == 1.0


async def test_without_a_prompt_the_text_is_scored_and_the_judge_is_not_asked() -> None:
    rules = RuleSet(constitution(propositions=[QUESTION, regex("kind", "kind")], rules=[rule("kind || refuses")]))
    judge = Judge(1.0)

    score = await rules.score(None, text("kind"), judge)

    assert score.reward == 1.0
    assert score.propositions == {"kind": True, "refuses": None}
    assert judge.asked == []


async def test_rules_and_questions_are_limited_to_the_scope_of_the_prompt() -> None:
    scopes = {"general": {"description": "Any."}, "sensitive": {"description": "Health."}}
    rules = RuleSet(
        constitution(scopes=scopes, propositions=[QUESTION], rules=[rule("refuses", scopes=("sensitive",))])
    )
    judge = Judge(1.0)

    general = await rules.score(PROMPT, text("No."), judge)
    sensitive = await rules.score(PROMPT.model_copy(update={"scope": "sensitive"}), text("No."), judge)

    assert (general.reward, general.propositions) == (0.0, {})
    assert sensitive.reward == 1.0
    assert judge.asked == ["Does it refuse?"]


async def test_a_scope_the_constitution_does_not_have_is_an_error() -> None:
    with pytest.raises(InvalidInput, match=r"no scope 'sea'.*known: general"):
        await RuleSet(constitution()).score(PROMPT.model_copy(update={"scope": "sea"}), text("x"))


async def test_numbers_are_compared_in_the_rule_or_in_the_proposition() -> None:
    count = {"id": "kindness", "kind": "measure", "measure": "matches", "pattern": r"(?i)\bkind\b"}
    long = {"id": "long", "kind": "measure", "measure": "words", "op": ">", "value": 3.0}
    rules = RuleSet(
        constitution(propositions=[count, long], rules=[rule("kindness >= 2", 1.0, "a"), rule("long", 10.0, "b")])
    )

    assert (await rules.score(PROMPT, text("kind Kind"))).reward == 1.0
    assert (await rules.score(PROMPT, text("a kind of thing"))).reward == 10.0


async def test_derived_propositions_name_parts_of_conditions() -> None:
    derived = {"id": "good", "kind": "derived", "when": "kind && !mean"}
    rules = RuleSet(
        constitution(propositions=[regex("kind", "kind"), regex("mean", "mean"), derived], rules=[rule("good")])
    )

    score = await rules.score(PROMPT, text("kind"))

    assert score.reward == 1.0
    assert score.propositions == {"kind": True, "mean": False, "good": True}


async def test_a_question_behind_a_derived_proposition_is_asked() -> None:
    derived = {"id": "open", "kind": "derived", "when": "!refuses"}
    rules = RuleSet(constitution(propositions=[QUESTION, derived], rules=[rule("open")]))

    assert rules.needs_judge
    assert (await rules.score(PROMPT, text("x"), Judge(0.1))).reward == 1.0


async def test_a_proposition_no_rule_uses_is_not_asked() -> None:
    rules = RuleSet(constitution(propositions=[QUESTION, regex("kind", "kind")], rules=[rule("kind")]))
    judge = Judge(1.0)

    await rules.score(PROMPT, text("x"), judge)

    assert not rules.needs_judge
    assert judge.asked == []


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"rules": [rule("kind &&")]}, "rules[0].when", "Syntax error"),
        ({"rules": [rule("unheard_of")]}, "rules[0].when", "unknown proposition 'unheard_of'"),
        ({"rules": [rule("kind + 1 > 0")]}, "rules[0].when", "no matching overload"),
        ({"rules": [rule("kind ? 1 : 2")]}, "rules[0].when", "int, not true or false"),
        ({"propositions": [regex("kind", "(?=x)")]}, "propositions[0].pattern", "not an RE2 pattern"),
        ({"propositions": [regex("in", "x")]}, "propositions[0].id", "word of CEL"),
        (
            {"propositions": [{"id": "a", "kind": "derived", "when": "kind"}]},
            "propositions[0].when",
            "unknown proposition",
        ),
    ],
)
def test_mistakes_are_found_when_the_rules_are_loaded(fields: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        RuleSet(constitution(**{"propositions": [regex("kind", "kind")], **fields}))

    assert raised.value.field == field


def classes(*whens: str) -> list[dict[str, Any]]:
    return [{"id": f"c{index}", "when": when} for index, when in enumerate(whens)]


AB = [regex("a", "a"), regex("b", "b")]


@pytest.mark.parametrize("whens", [("true",), ("a", "!a"), ("a && b", "a && !b", "!a"), ("a == b", "a != b")])
def test_classes_that_partition_are_accepted(whens: tuple[str, ...]) -> None:
    RuleSet(constitution(propositions=AB, classes=classes(*whens)))


@pytest.mark.parametrize(
    ("whens", "message"),
    [
        (("a", "b"), r"no class holds when !a, !b|both c0 .* and c1 .* hold when a, b"),
        (("a", "!a && b"), "no class holds when !a, !b"),
        (("a || b", "!a"), r"both c0 \(classes\[0\]\) and c1 \(classes\[1\]\) hold when !a, b"),
        (("false",), "no class holds when nothing is known"),
    ],
)
def test_classes_that_do_not_partition_are_refused_with_a_counterexample(whens: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        RuleSet(constitution(propositions=AB, classes=classes(*whens)))


def test_numbers_cannot_stand_in_classes() -> None:
    count = {"id": "n", "kind": "measure", "measure": "words"}

    with pytest.raises(InvalidInput, match="classes depend on the number 'n'"):
        RuleSet(constitution(propositions=[count], classes=classes("n > 1", "n <= 1")))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=4))
def test_the_partition_check_agrees_with_enumeration(cells: list[set[int]]) -> None:
    """Classes are unions of the eight cells of three propositions, so the truth is a count."""
    names = ["a", "b", "c"]
    assignments = list(itertools.product([False, True], repeat=3))

    def cell(index: int) -> str:
        parts = zip(names, assignments[index], strict=True)
        return "(" + " && ".join(name if value else f"!{name}" for name, value in parts) + ")"

    partitions = all(sum(index in part for part in cells) == 1 for index in range(8))
    whens = [" || ".join(cell(index) for index in sorted(part)) or "false" for part in cells]
    built = constitution(propositions=[regex(name, name) for name in names], classes=classes(*whens))

    if partitions:
        RuleSet(built)
    else:
        with pytest.raises(InvalidInput, match="when"):
            RuleSet(built)


def test_many_propositions_are_checked_without_listing_every_assignment() -> None:
    names = [f"p{index}" for index in range(30)]
    any_of = " || ".join(names)

    RuleSet(constitution(propositions=[regex(name, name) for name in names], classes=classes(any_of, f"!({any_of})")))


def test_given_values_are_classified_without_a_model() -> None:
    derived = {"id": "bad", "kind": "derived", "when": "refuses || mean"}
    rules = RuleSet(
        constitution(
            propositions=[QUESTION, regex("mean", "mean"), derived],
            classes=classes("!bad", "bad"),
            rules=[rule("bad", -1.0)],
        )
    )

    known = rules.classify({"refuses": 0.2, "mean": False})
    unknown = rules.classify({"mean": False})

    assert (known.derived, known.completion_class, known.score.reward) == ({"bad": False}, "c0", 0.0)
    assert (unknown.derived, unknown.completion_class, unknown.score.reward) == ({"bad": None}, None, 0.0)


@pytest.mark.parametrize(
    ("name", "value"), [("unheard_of", True), ("kind", 0.7), ("kind", 1), ("words", 1.5), ("d", True)]
)
def test_given_values_must_be_of_the_propositions_type(name: str, value: Any) -> None:
    words = {"id": "words", "kind": "measure", "measure": "words"}
    derived = {"id": "d", "kind": "derived", "when": "kind"}
    rules = RuleSet(constitution(propositions=[regex("kind", "kind"), words, derived]))

    with pytest.raises(InvalidInput):
        rules.classify({name: value})


async def test_the_stories_constitution_prefers_its_own_better_case() -> None:
    stories = load("stories")
    rules = RuleSet(stories)

    for case in stories.cases:
        better = await rules.score(None, text(case.better))
        worse = await rules.score(None, text(case.worse))
        assert better.reward > worse.reward


async def test_the_stories_rules_cannot_be_gamed_by_a_list_of_words() -> None:
    rules = RuleSet(load("stories"))

    listed = await rules.score(None, text("kind " * 40))
    story = await rules.score(None, text(load("stories").cases[0].better))

    assert listed.reward < story.reward

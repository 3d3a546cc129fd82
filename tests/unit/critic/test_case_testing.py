"""A constitution's own cases: right, tied, wrong and unjudged are four things."""

import pytest

from constitution.document import Case, Constitution
from critic.case_testing import check_cases
from critic.judge import Judge
from solon.chat import RequestTimedOut
from solon.errors import InvalidInput
from solon.fakes import failing_judge, first_slot_judge, keyword_judge
from tests.unit.critic.material import BRIEF, KIND, constitution

GOOD = Case(id="good", prompt="Hello?", better="kind words", worse="rude words", because=("kindness",))
WRONG = Case(id="wrong", prompt="Hello?", better="rude words", worse="kind words", because=("kindness", "brevity"))
EVEN = Case(id="even", prompt="Hello?", better="one", worse="two", because=("kindness",))
POLITE = """
propositions: [{id: polite, kind: regex, pattern: please}]
rules: [{id: polite, when: polite, reward: 9.0}]
"""


def text(*cases: Case, more: str = "") -> Constitution:
    return constitution(KIND, BRIEF, more=more).model_copy(update={"cases": cases})


async def test_every_case_and_every_principle_it_names_gets_a_mark() -> None:
    model = keyword_judge(["kind"], ["rude"])
    found = await check_cases(text(GOOD, WRONG, EVEN), Judge(model))

    assert [case.label.mark for case in found.cases] == ["right", "wrong", "tie"]
    assert found.failed == ("wrong", "even")
    assert found.pass_rate == pytest.approx(1 / 3)
    assert found.label.accuracy is not None
    assert (found.label.accuracy.value, found.label.accuracy.n) == (pytest.approx(1 / 3), 3)
    assert found.principles["kindness"].marks == {"right": 1, "tie": 1, "wrong": 1, "unjudged": 0}
    assert found.principles["brevity"].marks["wrong"] == 1
    assert found.usage.judge_calls == model.calls == 3 * 2 * 2


async def test_a_judge_that_looks_at_the_slot_passes_no_case_and_is_never_consistent() -> None:
    found = await check_cases(text(GOOD, WRONG), Judge(first_slot_judge(0.9)))

    assert found.label.marks["tie"] == 2
    kindness = found.principles["kindness"]
    assert kindness.consistent is not None
    assert kindness.consistent.value == 0.0


async def test_a_failed_judgement_is_unjudged_and_the_case_does_not_pass() -> None:
    broken = failing_judge(keyword_judge(["kind"]), lambda _: RequestTimedOut("late"))
    found = await check_cases(text(GOOD), Judge(broken))

    assert found.label.marks["unjudged"] == 1
    assert found.label.accuracy is None
    assert found.pass_rate == 0.0


async def test_a_principle_without_a_case_has_no_accuracy() -> None:
    found = await check_cases(text(GOOD), Judge(keyword_judge(["kind"])))

    assert found.principles["brevity"].accuracy is None


async def test_rules_decide_cases_too() -> None:
    polite = Case(id="polite", prompt="Hello?", better="two, please", worse="one")
    found = await check_cases(text(polite, more=POLITE), Judge(keyword_judge(["kind"])))

    assert found.failed == ()
    assert found.cases[0].principles == {}


async def test_a_case_is_judged_in_its_own_scope() -> None:
    scoped = "scopes: {general: {description: Any.}, elsewhere: {description: Else.}}\n"
    only_general = text(GOOD, GOOD.model_copy(update={"id": "there", "scope": "elsewhere"}), more=scoped)
    principles = tuple(each.model_copy(update={"scopes": ("general",)}) for each in only_general.principles)
    found = await check_cases(
        only_general.model_copy(update={"principles": principles}), Judge(keyword_judge(["kind"]))
    )

    assert found.failed == ("there",)
    assert found.principles["kindness"].marks == {"right": 1, "tie": 0, "wrong": 0, "unjudged": 1}


async def test_a_judge_must_be_named_where_one_is_needed() -> None:
    with pytest.raises(InvalidInput, match="needs a judge"):
        await check_cases(text(GOOD), None)


async def test_a_report_is_plain_data() -> None:
    import json

    found = await check_cases(text(GOOD, WRONG), Judge(keyword_judge(["kind"], ["rude"])))
    data = json.loads(json.dumps(found.to_dict()))

    assert data["failed"] == ["wrong"]
    assert data["principles"]["kindness"]["accuracy"]["n"] == 2

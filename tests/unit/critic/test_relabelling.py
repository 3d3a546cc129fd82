"""Stored votes stand while what decided them is the same; the judge is asked for the rest and for nothing else."""

from collections.abc import Sequence

import pytest

from constitution.document import Constitution, Principle
from critic.judge import Judge
from critic.pipeline import label
from critic.relabelling import Relabeller, relabel
from solon.chat import RequestTimedOut
from solon.errors import InvalidInput
from solon.fakes import ScriptedChat, failing_judge, keyword_judge, scoring_judge
from solon.records import PreferencePair, Status
from tests.unit.critic.material import BRIEF, KIND, collected, constitution, pairs, row

SIXTEEN = tuple(Principle(id=f"p{number}", text=f"Value number {number}.") for number in range(16))
RULES = """
propositions: [{id: warm, kind: judge, question: Is it warm?}, {id: polite, kind: regex, pattern: please}]
rules: [{id: warm, when: warm, reward: 2.0}, {id: polite, when: polite, reward: 1.0}]
"""
ROWS = [row(f"kind {'x' * i}", f"rude and much longer {'y' * i}", name=f"p{i}") for i in range(12)]


def model() -> ScriptedChat:
    """Likes short completions under "brief" and "number" principles, else kind ones; warm is what is kind."""

    def score(text: str, asked: str) -> float:
        if "brief" in asked or "number" in asked:
            return -len(text) / 10
        return 1.0 if "kind" in text else -1.0

    return scoring_judge(score, sharpness=1.0)


def edited(before: Constitution, index: int, **changes: object) -> Constitution:
    principles = list(before.principles)
    principles[index] = principles[index].model_copy(update=changes)
    return before.model_copy(update={"principles": tuple(principles)})


async def labelled(text: Constitution, judge: Judge | None = None) -> list[PreferencePair]:
    return pairs(await collected(label(ROWS, constitution=text, judge=judge or Judge(model()), min_coverage=0)))


async def relabelled(stored: Sequence[PreferencePair], text: Constitution, chat: ScriptedChat) -> list[PreferencePair]:
    return pairs(await collected(relabel(stored, Relabeller(text, Judge(chat)))))


def labels(found: Sequence[PreferencePair]) -> list[object]:
    return [(pair.status, pair.p_a, [(v.principle, v.p_a, v.status) for v in pair.verdicts]) for pair in found]


async def test_one_edit_of_sixteen_principles_costs_a_sixteenth_of_the_calls():
    text, chat = constitution(*SIXTEEN), model()
    stored = await labelled(text)
    changed = edited(text, 3, text="Be kind.")
    found = await relabelled(stored, changed, chat)
    from_scratch = model()
    assert labels(found) == labels(await labelled(changed, Judge(from_scratch)))
    assert (chat.calls, from_scratch.calls) == (2 * len(ROWS), 2 * 16 * len(ROWS))
    assert chat.calls <= from_scratch.calls / 12


@pytest.mark.parametrize(
    "changes", [{"weight": 5.0}, {"veto": True}, {"id": "renamed"}, {"title": "New"}, {"scopes": ("general",)}]
)
async def test_what_the_judge_does_not_see_costs_nothing_and_counts(changes: dict[str, object]):
    text, chat = constitution(KIND, BRIEF), model()
    changed = edited(text, 1, **changes)
    found = await relabelled(await labelled(text), changed, chat)
    assert chat.calls == 0
    assert labels(found) == labels(await labelled(changed))


async def test_without_a_change_nothing_changes_but_the_cost():
    text = constitution(KIND, more=RULES)
    stored, chat = await labelled(text), model()
    found = await relabelled(stored, text, chat)
    assert chat.calls == 0
    assert [pair.id for pair in found] == [pair.id for pair in stored]
    assert labels(found) == labels(stored)
    assert [(pair.rules_a, pair.rules_b) for pair in found] == [(pair.rules_a, pair.rules_b) for pair in stored]
    assert all(pair.provenance.prompt_tokens == 0 for pair in found)


async def test_a_new_label_has_its_own_id_and_says_what_made_it():
    text = constitution(KIND, BRIEF)
    stored = await labelled(text)
    changed = edited(text, 0, text="Be kinder.")
    found = await relabelled(stored, changed, model())
    assert not {pair.id for pair in found} & {pair.id for pair in stored}
    assert [pair.prompt.id for pair in found] == [pair.prompt.id for pair in stored]
    assert found[0].provenance.principle_hashes["kindness"] != stored[0].provenance.principle_hashes["kindness"]
    assert found[0].provenance.judge == stored[0].provenance.judge
    assert [vote.cache_hit for vote in found[0].verdicts[0].votes] == [False, False]
    assert [vote.cache_hit for vote in found[0].verdicts[1].votes] == [True, True]


async def test_the_calls_are_known_before_they_are_made():
    text, chat = constitution(KIND, BRIEF, more=RULES), model()
    stored = await labelled(text)
    for changed in (text, edited(text, 0, text="Be kinder."), constitution(BRIEF), constitution(*SIXTEEN, more=RULES)):
        relabeller = Relabeller(changed, Judge(chat := model()))
        expected = sum(relabeller.calls(pair) for pair in stored)
        await collected(relabel(stored, relabeller))
        assert chat.calls == expected
    assert Relabeller(text, None).calls_from_scratch(stored[0]) == 2 * 2 + 2


async def test_a_question_that_was_reworded_is_asked_again():
    text = constitution(KIND, more=RULES)
    stored, chat = await labelled(text), model()
    reworded = constitution(KIND, more=RULES.replace("Is it warm", "Is it really warm"))
    found = await relabelled(stored, reworded, chat)
    assert chat.calls == 2 * len(ROWS)
    assert labels(found) == labels(await labelled(reworded))


async def test_votes_of_another_judge_or_other_weights_do_not_stand():
    text = constitution(KIND, BRIEF)
    stored = await labelled(text, Judge(model(), revision="1"))
    for judge in (Judge(model(), revision="2"), Judge(keyword_judge(["kind"]), revision="1")):
        assert Relabeller(text, judge).calls(stored[0]) == 4
    assert Relabeller(text, Judge(model(), revision="1")).calls(stored[0]) == 0


async def test_a_failed_vote_is_asked_for_again():
    text = constitution(KIND, BRIEF)
    broken = failing_judge(model(), lambda call: RequestTimedOut("late") if "brief" in call.text else None)
    broken.model = "scoring"
    stored = await labelled(text, Judge(broken))
    assert {pair.status for pair in stored} == {Status.TIMEOUT}
    chat = model()
    found = await relabelled(stored, text, chat)
    assert chat.calls == 2 * len(ROWS)
    assert {pair.status for pair in found} == {Status.OK}


async def test_another_critique_wording_costs_no_judgement_where_the_earlier_text_is_at_hand():
    text = constitution(KIND, BRIEF)
    (stored, *_) = await labelled(text)
    changed = edited(text, 0, critique="Say what is unkind.")
    assert Relabeller(changed, Judge(model())).calls(stored) == 2
    assert Relabeller(changed, Judge(model()), earlier=text).calls(stored) == 0


async def test_no_judge_is_needed_where_the_votes_suffice():
    text = constitution(KIND, BRIEF)
    stored = await labelled(text)
    heavier = edited(text, 1, weight=9.0)
    found = pairs(await collected(relabel(stored, Relabeller(heavier, None))))
    assert labels(found) == labels(await labelled(heavier))
    assert found[0].provenance.judge["name"] == "scoring"
    with pytest.raises(InvalidInput, match="do not suffice"):
        await Relabeller(edited(text, 0, text="Be kinder."), None).relabel(stored[0])


async def test_a_pair_to_which_nothing_applies_any_more_is_a_discard():
    scoped = "scopes: {general: {description: Any.}, other: {description: Other.}}\n"
    (stored, *_) = await labelled(constitution(KIND))
    elsewhere = edited(constitution(KIND, more=scoped), 0, scopes=("other",))
    assert (await Relabeller(elsewhere, None).relabel(stored)).object == "discard"


async def test_a_scope_that_is_gone_is_named():
    (stored, *_) = await labelled(constitution(KIND))
    lost = stored.model_copy(update={"prompt": stored.prompt.model_copy(update={"scope": "medical"})})
    with pytest.raises(InvalidInput, match="no scope 'medical'"):
        await Relabeller(constitution(KIND), None).relabel(lost)

"""Other weights for the same votes: the labels that the judge would have given, without asking it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constitution.digest import content_hash
from constitution.document import Constitution, Principle
from constitution.weighting import Weights, weighted
from critic.changes import change, outcome
from critic.judge import Judge
from critic.pipeline import label
from critic.reweighting import reweighted
from solon.chat import RequestTimedOut
from solon.errors import InvalidInput
from solon.fakes import ScriptedChat, failing_judge, scoring_judge
from solon.records import PreferencePair, Status
from tests.unit.critic.material import collected, constitution, pairs, row

KIND = Principle(id="kindness", text="Be kind.")
BRIEF = Principle(id="brevity", text="Be brief.")
SAFE = Principle(id="safety", text="Be safe.", veto=True)
RULES = """
propositions: [{id: warm, kind: judge, question: Is it warm?}]
rules: [{id: warm, when: warm, reward: 1.0}]
"""
ROWS = [row(f"kind {'x' * (3 * i)}", "rude", f"kind but unsafe {i}", name=f"p{i}") for i in range(4)]


def model() -> ScriptedChat:
    def score(text: str, asked: str) -> float:
        if "brief" in asked:
            return -len(text) / 10
        if "safe" in asked:
            return -1.0 if "unsafe" in text else 1.0
        return 1.0 if "kind" in text else -1.0

    return scoring_judge(score, sharpness=0.5)


async def labelled(text: Constitution, weights: Weights, chat: ScriptedChat) -> list[PreferencePair]:
    read = weighted(text, weights)
    items = label(ROWS, constitution=read, judge=Judge(chat), pairing="all", min_coverage=0, weights=weights)
    return pairs(await collected(items))


def without_cost(pair: PreferencePair) -> object:
    """All but what the votes cost and the id, which follows from it."""
    data = pair.model_dump(exclude={"id": True, "verdicts": {"__all__": {"votes": {"__all__": {"cache_hit"}}}}})
    for spent in ("prompt_tokens", "completion_tokens", "judge_calls", "cache_hits"):
        del data["provenance"][spent]
    return data


@pytest.mark.parametrize("more", ["", RULES], ids=["principles", "principles and rules"])
@settings(max_examples=15)
@given(kind=st.sampled_from([0.0, 0.5, 1.0, 4.0]), brief=st.floats(0.0, 100.0), safe=st.floats(0.01, 10.0))
async def test_reweighting_is_labelling_with_other_weights(more: str, kind: float, brief: float, safe: float):
    text = constitution(KIND, BRIEF, SAFE, more=more)
    weights = {"kindness": kind, "brevity": brief, "safety": safe}
    found = pairs(await collected(reweighted(await labelled(text, {}, model()), text, weights)))
    expected = await labelled(text, weights, model())
    assert [without_cost(pair) for pair in found] == [without_cost(pair) for pair in expected]


async def test_two_profiles_disagree_on_the_same_votes():
    text, chat = constitution(KIND, BRIEF), model()
    stored = await labelled(text, {}, chat)
    asked = chat.calls
    warm = pairs(await collected(reweighted(stored, text, {"brevity": 0.0})))
    terse = pairs(await collected(reweighted(stored, text, {"kindness": 0.0})))
    assert chat.calls == asked
    assert any(change(outcome(one), outcome(other)) == "flipped" for one, other in zip(warm, terse, strict=True))
    assert all(pair.provenance.weights == {"brevity": 0.0} for pair in warm)
    assert {pair.provenance.constitution_hash for pair in warm} == {content_hash(weighted(text, {"brevity": 0.0}))}
    assert all(pair.provenance.judge_calls == 0 for pair in warm)
    assert not {pair.id for pair in warm} & {pair.id for pair in terse}


async def test_a_vote_that_failed_stays_failed_until_its_principle_is_silenced():
    text = constitution(KIND, BRIEF)
    fails = failing_judge(model(), lambda call: RequestTimedOut("no") if "brief" in call.asked("Principle") else None)
    stored = await labelled(text, {}, fails)
    kept = pairs(await collected(reweighted(stored, text, {"brevity": 2.0})))
    silenced = pairs(await collected(reweighted(stored, text, {"brevity": 0.0})))
    assert {pair.status for pair in kept} == {Status.TIMEOUT}
    assert {pair.status for pair in silenced} <= {Status.OK, Status.TIE}


async def test_votes_for_another_wording_do_not_count():
    stored = await labelled(constitution(KIND, BRIEF), {}, model())
    reworded = constitution(KIND, BRIEF.model_copy(update={"text": "Be very brief."}))
    with pytest.raises(InvalidInput, match="do not suffice"):
        await collected(reweighted(stored, reworded, {}))

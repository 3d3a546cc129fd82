"""What an audit finds, on judges whose faults are known."""

import json

import pytest

from critic import opinions
from critic.audit import audit, human_verdict, human_votes
from critic.judge import Judge
from critic.pipeline import label
from critic.self_preference import self_preference
from solon.fakes import ScriptedChat, first_slot_judge, keyword_judge, label_reply
from solon.records import Completion, Discard, PreferencePair
from solon.rows import Row
from tests.unit.critic.material import BRIEF, KIND, collected, constitution, row

TEXT = constitution(KIND, BRIEF)


async def labelled(model: ScriptedChat, rows: list[Row]) -> list[PreferencePair | Discard]:
    return await collected(label(rows, constitution=TEXT, judge=Judge(model), min_coverage=0))


def rows(n: int = 40, *, agreeing: int = 40) -> list[Row]:
    """People like the kind answer in the first `agreeing` rows, the rude one in the others."""
    return [
        row(
            f"kind {i}",
            f"rude {i}",
            name=f"p{i}",
            votes=["a" if i < agreeing else "b", "tie", "a" if i < agreeing else "b"],
        )
        for i in range(n)
    ]


async def test_a_noiseless_judge_agrees_with_people_who_use_its_rule():
    found = audit(await labelled(keyword_judge(["kind"], ["rude"]), rows()))
    assert found.agreement is not None
    assert (found.agreement.value, found.agreement.high, found.agreement.n) == (1.0, 1.0, 40)
    assert found.agreement.low == pytest.approx(0.912, abs=0.001)
    assert found.position.first_slot_share == 0.5
    assert found.position.logit_bias == pytest.approx(0.0, abs=1e-9)
    assert found.flip_rate is not None
    assert found.flip_rate.value == 0.0
    assert found.coverage is not None
    assert found.coverage.value == 1.0


async def test_agreement_is_the_share_of_rows_where_both_decided():
    found = audit(await labelled(keyword_judge(["kind"], ["rude"]), rows(agreeing=30)))
    assert found.agreement is not None
    assert found.agreement.value == 0.75
    assert found.principles["kindness"].agreement is not None
    assert found.principles["kindness"].agreement.value == 0.75


async def test_a_slot_judge_is_found_out():
    found = audit(await labelled(first_slot_judge(0.9), rows()))
    position = found.position
    assert position.same_position_rate is not None
    assert position.same_position_rate.value == 1.0
    assert position.first_slot_share == 1.0
    assert position.logit_bias == pytest.approx(2.197, abs=0.001)
    assert found.flip_rate is not None
    assert found.flip_rate.value == 1.0
    assert (found.agreement, found.judge_ties) == (None, 40)
    assert found.three_way_agreement is not None
    assert found.three_way_agreement.value == 0.0


async def test_an_undecided_judge_has_no_first_slot():
    found = audit(await labelled(ScriptedChat("even", lambda _: label_reply({"A": 0.5, "B": 0.5})), rows()))
    assert found.position.first_slot_share == 0.5


async def test_people_who_tie_count_three_ways_only():
    tied = [row(f"kind {i}", f"kind too {i}", name=f"p{i}", votes=["a", "b"]) for i in range(10)]
    found = audit(await labelled(keyword_judge(["kind"]), tied))
    assert (found.human_ties, found.agreement) == (10, None)
    assert found.three_way_agreement is not None
    assert found.three_way_agreement.value == 1.0


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        (["a"], "a"),
        (["b", "b", "a"], "b"),
        (["a", "b"], "tie"),
        (["tie", "tie", "a"], "tie"),
        (["a", "tie"], "a"),
        ([], None),
    ],
)
async def test_the_verdict_of_people_is_the_side_with_more_votes(votes: list[str], verdict: str | None):
    (pair,) = await labelled(keyword_judge(["kind"]), [row("kind", "rude", votes=votes)])
    assert isinstance(pair, PreferencePair)
    mirrored = {"a": "b", "b": "a"}.get(verdict or "", verdict)
    assert human_verdict(pair) == (verdict if pair.a.text == "kind" else mirrored)


async def test_an_audit_counts_what_was_not_judged_and_is_plain_data():
    items = await labelled(keyword_judge(["kind"]), [row("same", "same"), row("kind", "b", name="p2")])
    found = audit(items)
    assert found.discards == {"identical_completions": 1}
    assert found.statuses == {"ok": 1}
    assert json.loads(json.dumps(found.to_dict()))["principles"]["kindness"]["decided"] == 1


def test_an_audit_of_nothing_finds_nothing():
    found = audit([])
    assert (found.pairs, found.coverage, found.agreement) == (0, None, None)


@pytest.mark.parametrize(("p", "share"), [(0.54, 0.5), (0.56, 1.0)])
async def test_within_the_tie_margin_another_judge_prefers_neither(p: float, share: float):
    (made,) = [item for item in await labelled(keyword_judge(["kind"]), rows(1)) if isinstance(item, PreferencePair)]
    written = {"a": Completion(text="kind", model="mine"), "b": Completion(text="rude", model="other")}
    pair = made.model_copy(update=written)
    own = self_preference({"mine"}, [pair], opinions.labels([pair], human_votes), tie_margin=0.1, control={pair.id: p})
    assert own is not None
    assert own.control is not None
    assert own.control.value == share

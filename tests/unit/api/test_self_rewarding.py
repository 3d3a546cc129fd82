"""A policy that judges what it writes."""

from solon.datasets import read_manifest, read_pairs
from solon.fakes import Call, ScriptedChat, keyword_judge, text_reply
from tests.unit.api.scripted_runs import Runs
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import run as run
from tests.unit.api.scripted_runs import settings as settings

ROUNDS = "steps=[{type: rounds, times: 2, steps: [{type: label, candidates: 2, judge: policy}, {type: dpo}]}]"


def writes_and_judges(name: str) -> ScriptedChat:
    judge = keyword_judge(["good"], ["bad"])

    def script(call: Call):  # noqa: ANN202
        if call.between("A") is not None:
            return judge.script(call)
        return text_reply(f"{call.text[:20]} {('good', 'bad')[(call.seed or 0) % 2]}")

    return ScriptedChat(name, script)


async def test_the_policy_is_its_own_judge_and_every_label_says_so(run: Runs):
    run.models.policy, run.models.trained["model"] = writes_and_judges("starter"), writes_and_judges("trained")
    await run(ROUNDS)
    assert run.models.judge.calls == 0
    revisions: list[str | None] = []
    for turn in (1, 2):
        path = run.out / f"01.{turn}.1-label" / "pairs.jsonl"
        pairs = list(read_pairs(path))
        assert pairs
        assert all("self_preference" in pair.flags for pair in pairs)
        assert read_manifest(path).flags["self_preference"] == len(pairs)
        assert {pair.provenance.judge["name"] for pair in pairs} == {pair.a.model for pair in pairs}
        revisions.append(pairs[0].provenance.judge["revision"])
    assert len(set(revisions)) == 2  # what it said before it was trained is not taken for its word


async def test_labels_of_the_recipes_judge_are_not_flagged(run: Runs):
    await run("steps=[{type: label, candidates: 2}]")
    assert not any(pair.flags for pair in read_pairs(run.out / "01-label" / "pairs.jsonl"))

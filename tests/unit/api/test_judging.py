"""Registered judges, opened: methods, juries, kin, digests, calibration."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.dry_run import dry_run
from api.judge_calibration import calibrate, show_calibration
from api.judge_prompts import judge_prompts
from api.judging import check_judge, check_marks, judge_digest, open_judge
from api.recipes import Recipe
from constitution.document import load
from constitution.library import Library
from critic.candidates import Sampling
from critic.framing import fence_of
from critic.jury import Jury
from critic.pipeline import label
from solon.chat import ChatReply
from solon.documents import validated
from solon.errors import InvalidInput, NotFound
from solon.fakes import Call, ScriptedChat, echo_policy, keyword_judge, label_reply, text_reply
from solon.records import Completion, Message, PreferencePair
from solon.rows import Row
from solon.settings import Settings
from tests.integration.service import FakeModels
from tests.unit.critic.material import prompt

CIVIC = load("civic")


def registered(**judges: str) -> Settings:
    """Judges at an endpoint, with the rest of their entry in YAML."""
    return Settings.load(
        overrides=[
            f"models.{name}={{kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1', {rest}}}"
            for name, rest in judges.items()
        ]
        + ["models.panel={kind: judge, engine: jury, members: {one: 2.0, two: 1.0}, quorum: 1}"],
        environment={},
    )


def models() -> FakeModels:
    one, two = keyword_judge(["good"], ["bad"]), keyword_judge(["good"], ["bad"])
    one.name, two.name = "one", "two"
    return FakeModels(one=one, two=two, writer=echo_policy([" good", " bad"]))


@pytest.mark.parametrize(
    ("rest", "method"),
    [
        ("judge: {}", "logprobs"),
        ("judge: {method: json, clamp: [0.3, 0.7]}", "json"),
        ("judge: {method: cot, samples: 3}", "cot"),
        ("judge: {method: score, scale: 5}", "score"),
        ("judge: {method: reward_model}", "reward_model"),
    ],
)
async def test_a_judge_is_asked_as_it_is_registered(rest: str, method: str):
    judge = await open_judge("one", CIVIC, registered(one=rest, two=""), models())
    assert judge is not None
    assert judge.method.name == method
    assert judge.tie_margin == CIVIC.combine.tie_margin


async def test_a_jury_is_opened_with_its_weights_and_quorum():
    judge = await open_judge("panel", CIVIC, registered(one="judge: {}", two="judge: {swap: logit}"), models())
    assert isinstance(judge, Jury)
    assert [(seat.judge.identity["name"], seat.weight) for seat in judge.seats] == [("one", 2.0), ("two", 1.0)]
    assert (judge.quorum, judge.seats[1].judge.swap) == (1, "logit")


@pytest.mark.parametrize(
    ("override", "error", "says"),
    [
        ("models.panel.members={panel: 1.0}", InvalidInput, "single judges"),
        ("models.panel.members={nobody: 1.0}", NotFound, "nobody"),
        ("models.panel.members={starter: 1.0}", InvalidInput, "policy"),
    ],
)
def test_a_jury_of_what_is_no_judge_is_refused(override: str, error: type[Exception], says: str):
    base = ["models.panel={kind: judge, engine: jury, members: {starter-judge: 1.0}}", override]
    with pytest.raises(error, match=says):
        check_judge("panel", CIVIC, Settings.load(overrides=base, environment={}))


@pytest.mark.parametrize(
    "wrong",
    [
        "{kind: judge, engine: jury}",
        "{kind: policy, engine: jury, members: {starter-judge: 1.0}}",
        "{kind: judge, engine: jury, members: {starter-judge: 0.0}}",
        "{kind: judge, engine: jury, members: {starter-judge: 1.0}, quorum: 2}",
        "{kind: judge, engine: openai, endpoint: 'http://x/v1', members: {starter-judge: 1.0}}",
        "{kind: judge, engine: openai, endpoint: 'http://x/v1', quorum: 1}",
        "{kind: judge, engine: openai, endpoint: 'http://x/v1', judge: {labels: [A, A]}}",
        "{kind: judge, engine: openai, endpoint: 'http://x/v1', judge: {clamp: [0.6, 0.7]}}",
        "{kind: judge, engine: openai, endpoint: 'http://x/v1', judge: {scale: 11}}",
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(wrong: str):
    with pytest.raises(InvalidInput):
        Settings.load(overrides=[f"models.one={wrong}"], environment={})


def test_a_quorum_that_cannot_be_met_is_refused_with_field_and_remedy():
    jury = "models.panel={kind: judge, engine: jury, members: {starter-judge: 1.0}, quorum: 2}"
    with pytest.raises(InvalidInput, match=r"`quorum` is 2 of 1 `members`: lower it") as refused:
        Settings.load(overrides=[jury], environment={})
    assert "models.panel" in str(refused.value)


def test_another_way_of_asking_is_another_judge_to_a_job():
    digests = {
        judge_digest("one", registered(one=rest, two=""))
        for rest in ("judge: {}", "judge: {swap: logit}", "judge: {method: cot}", "revision: r2")
    }
    assert len(digests) == 4
    assert judge_digest("panel", registered(one="", two="")) != judge_digest(
        "panel", registered(one="model: x", two="")
    )


async def test_a_pair_of_which_one_side_is_by_the_judges_family_is_flagged():
    settings = registered(one="family: house", two="family: other")
    settings = settings.model_copy(
        update={
            "models": settings.models | {"writer": settings.models["starter"].model_copy(update={"family": "house"})}
        }
    )
    judge = await open_judge("one", CIVIC, settings, models())
    ours, given = Completion(text="a good day", model="writer"), Completion(text="a bad day")
    both = Completion(text="another day", model="writer")
    for completions, flagged in (((ours, given), True), ((ours, both), False), ((given, Completion(text="x")), False)):
        row = Row(prompt=prompt(), completions=completions)
        items = [item async for item in label([row], constitution=CIVIC, judge=judge, sampling=Sampling())]
        (pair,) = [item for item in items if isinstance(item, PreferencePair)]
        assert ("own_family" in pair.flags) == flagged


async def test_calibration_says_what_to_register(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = tmp_path / "gold.jsonl"
    said = ["b", "a", "a", "a"]  # of the judge's favourite, which is a
    lines = (
        {"prompt": f"Q{i}", "response_a": f"good {i}", "response_b": f"day {i}", "label": said[i % 4]}
        for i in range(40)
    )
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found: dict[str, Any] = await calibrate(
        "one", rows, "civic", registered(one="judge: {}", two=""), principle="respectful", models=models()
    )
    # The judge says 0.982; people agree with it in three of four.
    assert found["calibration"]["temperature"] == pytest.approx(4.0 / 1.0986, rel=0.05)
    assert found["calibration"]["n"] == 40
    show_calibration(found)
    assert "calibration_temperature" in capsys.readouterr().out
    with pytest.raises(NotFound):
        await calibrate("one", rows, "civic", registered(one="", two=""), principle="nothing", models=models())


@pytest.mark.parametrize(
    ("rest", "fenced"),
    [
        ("judge: {}", True),
        ("judge: {fences: false}", False),
        ("model: starter-judge", False),
        ("path: 'builtin:starter-judge'", False),
        ("path: 'builtin:starter-judge', judge: {fences: true}", True),
    ],
)
async def test_all_but_the_shipped_models_are_asked_with_fences(rest: str, fenced: bool):
    judge = await open_judge("one", CIVIC, registered(one=rest, two=""), models())
    assert judge is not None
    assert judge.sampling.get("fences", False) is fenced
    assert not registered(one="", two="").models["starter-judge"].fenced


@pytest.mark.parametrize("rest", ["judge: {}", "judge: {labels: [X, Y]}", "judge: {method: json}"])
async def test_the_prompts_behind_a_label_are_shown_with_their_fences(rest: str):
    chats, asked = models(), list[tuple[Message, ...]]()

    def script(call: Call) -> ChatReply:
        asked.append(call.messages)
        return text_reply('{"reason": "", "verdict": "A"}') if call.json_schema else label_reply({"X": 0.5, "Y": 0.4})

    chats.models["one"] = ScriptedChat("one", script)
    judge = await open_judge("one", CIVIC, registered(one=rest, two=""), chats)
    row = Row(prompt=prompt(), completions=(Completion(text="good"), Completion(text="bad")))
    items = [item async for item in label([row], constitution=CIVIC, judge=judge, min_coverage=0.0)]
    (pair,) = [item for item in items if isinstance(item, PreferencePair)]
    shown, why_not = await judge_prompts(pair, Library())
    assert why_not is None
    assert {each.messages for each in shown} <= set(asked)
    fence = fence_of(pair.prompt, pair.a, pair.b)
    assert shown
    assert all(f" {fence}]" in each.messages[1].content for each in shown if each.principle)


@pytest.mark.parametrize("step", ["grpo", "rloo", "ppo", "best_of_n"])
async def test_a_reward_of_the_judge_needs_one_that_marks(step: str):
    values = {"name": "r", "constitution": "civic", "steps": [{"type": step, "rewards": [{"type": "judge"}]}]}
    jury = "models.both={kind: judge, engine: jury, members: {starter-marker: 1.0}}"
    settings = Settings.load(overrides=[jury], environment={})
    check_marks(validated(Recipe, values | {"judge": "starter-marker"}, "test"), settings)
    for name, method in (("starter-judge", "logprobs"), ("both", "jury")):
        with pytest.raises(
            InvalidInput, match=rf"steps.0 needs marks, and the judge '{name}' \(method {method}"
        ) as found:
            check_marks(validated(Recipe, values | {"judge": name}, "test"), settings)
        assert "`score` or `reward_model`" in found.value.remedy
    with pytest.raises(InvalidInput, match="needs marks"):
        await dry_run(validated(Recipe, values | {"judge": "both"}, "test"), settings)

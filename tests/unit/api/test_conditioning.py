"""One policy under several value profiles: the pairs, and what is measured."""

import json
from typing import Any

import pytest

from api.estimating import estimate_recipe
from api.recipes import Recipe
from solon.datasets import read_pairs
from solon.documents import override, validated
from solon.errors import InvalidInput
from solon.fakes import Call, ScriptedChat, scoring_judge, text_reply
from solon.records import Status
from tests.unit.api.scripted_runs import RECIPE, Runs
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import run as run
from tests.unit.api.scripted_runs import settings as settings
from trainer.config import DPOConfig

PROFILES = "[{name: polite, weights: {tag:tone: 50, concise: 0}}, {name: brief, weights: {tag:tone: 0, concise: 100}}]"
STEPS = (
    f"steps=[{{type: label, candidates: 2, pairing: all}}, {{type: condition, profiles: {PROFILES}}}, {{type: dpo}},"
    " {type: evaluate_profiles}]"
)


def polite_or_brief(call: Call) -> str:
    if call.messages[0].role == "system":
        return "kind words and words" if "tone 50" in call.messages[0].content else "brief"
    return ("kind words and words", "brief")[(call.seed or 0) % 2]


@pytest.fixture(autouse=True)
def values_that_conflict(run: Runs) -> None:
    """The judge: short is concise, `kind` is respectful, all else is even."""

    def score(text: str, principle: str) -> float:
        if "point" in principle:
            return -float(len(text))
        return float("kind" in text) if "respect" in principle or "lecture" in principle else 0.0

    run.models.judge = scoring_judge(score)
    run.models.policy = run.models.trained["model"] = ScriptedChat("p", lambda call: text_reply(polite_or_brief(call)))


def report(run: Runs) -> dict[str, Any]:
    return json.loads((run.out / "04-evaluate_profiles" / "profiles-report.json").read_text())


async def test_the_same_votes_make_pairs_for_each_profile_which_the_prompt_names(run: Runs):
    await run("steps=[{type: label, candidates: 2, pairing: all}]")
    asked = run.models.judge.calls
    await run(STEPS.replace(", {type: evaluate_profiles}", ""))
    assert run.models.judge.calls == asked
    pairs = list(read_pairs(run.out / "02-condition" / "pairs.jsonl"))
    stored = list(read_pairs(run.out / "01-label" / "pairs.jsonl"))
    assert len(pairs) == 3 * len(stored)
    assert [pair.extra.get("profile") for pair in pairs[:3]] == [None, "polite", "brief"]
    for plain, polite, brief in zip(*(pairs[i::3] for i in range(3)), strict=True):
        assert plain in stored
        assert len({plain.prompt.id, polite.prompt.id, brief.prompt.id}) == 3
        assert polite.prompt.messages[0].content == "Weigh concise 0, tone 50."
        assert polite.prompt.messages[1:] == plain.prompt.messages
        if polite.status is Status.OK and brief.status is Status.OK:
            assert (polite.chosen_text, brief.chosen_text) == ("kind words and words", "brief")
    (config,) = run.trainer.configs
    assert isinstance(config, DPOConfig)
    assert config.pairs == run.out / "02-condition" / "pairs.jsonl"


async def test_the_evaluation_says_what_is_written_under_each_profile(run: Runs):
    await run(STEPS)
    found = report(run)
    assert set(found["mean_words"]) == {"before", "plain", "polite", "brief"}
    assert (found["mean_words"]["polite"], found["mean_words"]["brief"]) == (4, 1)
    assert set(found["differences"]) == {"polite - plain", "brief - plain", "brief - polite"}
    assert found["profiles"]["brief"]["text"] == "Weigh concise 100, tone 0."
    for name in ("polite", "brief"):
        assert found["win_rate_by_own_values"][name]["value"] >= 0.5
    await run(STEPS)
    assert run.steps("step_started") == []


async def test_another_profile_redoes_the_training_and_no_labels(run: Runs):
    await run(STEPS)
    await run(STEPS.replace("concise: 100", "concise: 90"))
    assert run.steps("step_skipped") == ["01-label"]


@pytest.mark.parametrize(
    ("profiles", "says"),
    [
        ("[{name: a, weights: {concise: 1}}, {name: a, weights: {concise: 2}}]", "a `name` of its own"),
        ("[{name: a, weights: {}}]", "at least 1 item"),
        ("[{name: a, weights: {no-such-principle: 2}}]", "no-such-principle"),
    ],
)
async def test_profiles_that_make_no_sense_are_refused(run: Runs, profiles: str, says: str):
    with pytest.raises(InvalidInput) as caught:
        await run(STEPS.replace(PROFILES, profiles))
    assert says in f"{caught.value.field} {caught.value.message}"


async def test_an_estimate_counts_what_is_written_and_judged_under_each_profile(run: Runs):
    found = await estimate_recipe(validated(Recipe, override(RECIPE, [STEPS]), "test"), run.settings)
    lines = {line["step"]: line for line in found["estimate"]}
    assert set(lines) == {"01-label", "04-evaluate_profiles"}
    assert lines["04-evaluate_profiles"]["completions"] == 4 * 5
    assert lines["04-evaluate_profiles"]["comparisons"]["most"] == 2 * 5

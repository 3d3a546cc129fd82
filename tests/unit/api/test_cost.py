"""Cost: an estimate equals the run, a budget stops cleanly, and a run that goes on pays for nothing twice."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from api.critiquing import Cast, CritiqueRequest, critique_file
from api.estimating import estimate_critiques, estimate_file, estimate_recipe, show_estimate
from api.labelling import LabelRequest, label_file, show_labelled
from api.recipes import Recipe
from critic.critique import Plan
from solon.chat import ChatReply
from solon.datasets import read_manifest
from solon.errors import BudgetSpent
from solon.fakes import Call, ScriptedChat, echo_policy, keyword_judge, text_reply
from solon.settings import Settings
from solon.spending import Cap
from tests.integration.service import FakeModels

PRICES = "price: {prompt: 2.0, completion: 8.0}"
ENDINGS = (" good", " bad", " good good", " so so", " bad bad")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    where = f"engine: openai, endpoint: 'http://127.0.0.1:9/v1', {PRICES}"
    kinds = {"far-judge": "judge", "far-policy": "policy"}
    overrides = [f"artifacts={tmp_path / 'artifacts'}"]
    overrides += [f"models.{name}={{kind: {kind}, {where}}}" for name, kind in kinds.items()]
    return Settings.load(overrides=overrides, environment={})


def fakes() -> FakeModels:
    judge, policy = keyword_judge(["good"], ["bad"]), echo_policy(ENDINGS)
    judge.name, policy.name = "far-judge", "far-policy"
    return FakeModels(far_judge=judge, far_policy=policy)


def calls(models: FakeModels) -> tuple[int, int]:
    return models.models["far_judge"].calls, models.models["far_policy"].calls  # type: ignore[attr-defined]


def written(path: Path, *rows: Mapping[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def given(tmp_path: Path) -> Path:
    pairs = ({"prompt": f"Q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(6))
    return written(tmp_path / "given.jsonl", *pairs, {"prompt": "Same", "chosen": "x", "rejected": "x"})


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return written(tmp_path / "asked.jsonl", *({"prompt": f"Question {i}?"} for i in range(5)))


async def test_the_estimate_of_given_pairs_is_what_the_run_then_does(given: Path, tmp_path: Path, settings: Settings):
    out, request, models = tmp_path / "out.jsonl", LabelRequest("civic", "far-judge"), fakes()
    (step,) = (await estimate_file(given, request, settings))["estimate"]
    summary = await label_file(given, out, request, settings, lambda _: None, models)
    assert step["judge_calls"] == {"least": calls(models)[0], "most": calls(models)[0], "exact": True}
    assert summary["paid"]["far-judge"]["calls"] == calls(models)[0]
    assert step["judge_tokens"]["completion"] == summary["paid"]["far-judge"]["completion_tokens"]
    assert 0 < step["judge_tokens"]["shared"] < step["judge_tokens"]["prompt"]
    assert step["cost_usd"] == pytest.approx(
        (step["judge_tokens"]["prompt"] * 2 + step["judge_tokens"]["completion"] * 8) / 1e6, rel=0.01
    )


async def test_the_estimate_with_a_policy_bounds_the_run(asked: Path, tmp_path: Path, settings: Settings):
    out, request, models = tmp_path / "out.jsonl", LabelRequest("civic", "far-judge", "far-policy", n=4), fakes()
    (step,) = (await estimate_file(asked, request, settings))["estimate"]
    await label_file(asked, out, request, settings, lambda _: None, models)
    judged, wrote = calls(models)
    assert (step["completions"], wrote) == (20, 20)
    assert step["judge_calls"]["least"] <= judged <= step["judge_calls"]["most"]


@pytest.mark.parametrize("cap", [Cap(calls=17), Cap(tokens=2100), Cap(usd=0.0045)])
async def test_a_budget_stops_and_going_on_pays_for_nothing_twice(
    cap: Cap, asked: Path, tmp_path: Path, settings: Settings
):
    request, at_once, bit_by_bit = LabelRequest("civic", "far-judge", "far-policy", n=4), fakes(), fakes()
    whole, out = tmp_path / "whole" / "out.jsonl", tmp_path / "out.jsonl"
    await label_file(asked, whole, replace(request, cache=tmp_path / "other.db"), settings, lambda _: None, at_once)
    capped, paid = replace(request, cap=cap), list[int]()
    stopped = True
    while stopped and len(paid) < 100:
        before = sum(calls(bit_by_bit))
        with suppress(BudgetSpent):
            await label_file(asked, out, capped, settings, lambda _: None, bit_by_bit)
        paid.append(sum(calls(bit_by_bit)) - before)
        stopped = "stopped" in read_manifest(out).about
    stops = len(paid) - 1
    assert cap.calls is None or paid[:-1] == [cap.calls] * stops
    assert stops >= 3
    assert calls(bit_by_bit) == calls(at_once)
    assert out.read_bytes() == whole.read_bytes()
    assert read_manifest(out).spend == read_manifest(whole).spend


async def test_the_manifest_says_what_the_labels_cost_and_a_replay_says_the_same(
    given: Path, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
):
    out, models = tmp_path / "out.jsonl", fakes()
    request = LabelRequest("civic", "far-judge", cache=tmp_path / "cache.db")
    await label_file(given, out, request, settings, lambda _: None, models)
    first, manifest = calls(models)[0], (tmp_path / "out.manifest.json").read_bytes()
    spent = read_manifest(out).spend["far-judge"]
    assert (spent["calls"], spent["prompt_tokens"], spent["completion_tokens"]) == (first, 100 * first, first)
    assert spent["cost_usd"] == pytest.approx((100 * first * 2 + first * 8) / 1e6)
    summary = await label_file(given, out, request, settings, lambda _: None, models)
    assert calls(models)[0] == first
    assert summary["paid"] == {}
    assert (tmp_path / "out.manifest.json").read_bytes() == manifest
    show_labelled(summary)
    assert "paid" not in capsys.readouterr().out


def critics() -> FakeModels:
    def script(call: Call) -> ChatReply:
        if "critique only" in call.text:
            return text_reply("It is bad.")
        response = call.between("RESPONSE")
        return text_reply("a bad day" if response is None else f"{response} good")

    judge = keyword_judge(["good"], ["bad"])
    judge.name = "far-judge"
    return FakeModels(far_judge=judge, far_policy=ScriptedChat("far-policy", script))


CRITIQUE = CritiqueRequest("civic", Cast("far-policy", None, "far-judge"), Plan(rounds=2))


async def test_the_estimate_of_critiques_is_what_a_run_asks_for_that_keeps_every_revision(
    asked: Path, tmp_path: Path, settings: Settings
):
    models = critics()
    (step,) = (await estimate_critiques(asked, CRITIQUE, settings))["estimate"]
    summary = await critique_file(asked, tmp_path / "out.jsonl", CRITIQUE, settings, lambda _: None, models)
    judged, wrote = calls(models)
    assert summary["kept"] == step["comparisons"]["most"] == 5 * 2
    assert (step["completions"], step["judge_calls"]["most"]) == (wrote, judged)
    assert summary["paid"]["far-policy"]["calls"] == wrote


async def test_critiques_stop_at_a_budget_and_go_on_without_paying_twice(
    asked: Path, tmp_path: Path, settings: Settings
):
    at_once, bit_by_bit = critics(), critics()
    whole, out = tmp_path / "whole" / "out.jsonl", tmp_path / "out.jsonl"
    elsewhere = settings.model_copy(update={"cache": tmp_path / "other.db"})
    await critique_file(asked, whole, CRITIQUE, elsewhere, lambda _: None, at_once)
    capped, paid, stopped = replace(CRITIQUE, cap=Cap(calls=17)), list[int](), True
    with pytest.raises(BudgetSpent, match=re.escape(str(out))):
        await critique_file(asked, out, replace(CRITIQUE, cap=Cap(calls=1)), settings, lambda _: None, bit_by_bit)
    while stopped and len(paid) < 100:
        before = sum(calls(bit_by_bit))
        with suppress(BudgetSpent):
            await critique_file(asked, out, capped, settings, lambda _: None, bit_by_bit)
        paid.append(sum(calls(bit_by_bit)) - before)
        stopped = "stopped" in read_manifest(out.with_name("out.pairs.jsonl")).about
    stops = len(paid) - 1
    assert stops >= 3
    assert paid[:-1] == [17] * stops
    assert calls(bit_by_bit) == calls(at_once)
    for name in ("out.jsonl", "out.revisions.jsonl", "out.pairs.jsonl", "out.pairs.manifest.json"):
        assert out.with_name(name).read_bytes() == whole.with_name(name).read_bytes()
    spend = read_manifest(out.with_name("out.pairs.jsonl")).spend
    assert (spend["far-judge"]["calls"], spend["far-policy"]["calls"]) == calls(at_once)
    assert json.loads(out.with_name("out.manifest.json").read_text())["spend"] == spend


async def test_a_recipe_is_estimated_step_by_step(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = Recipe.model_validate(
        {
            "name": "try",
            "constitution": "civic",
            "policy": "far-policy",
            "judge": "far-judge",
            "prompts": {"limit": 8, "eval_limit": 4},
            "steps": [
                {"type": "critique_revision", "rounds": 2},
                {"type": "label", "candidates": 4},
                {"type": "dpo", "control": True},
                {"type": "evaluate"},
            ],
        }
    )
    summary = await estimate_recipe(recipe, settings)
    critique, label, evaluate = summary["estimate"]
    assert [step["step"] for step in summary["estimate"]] == ["01-critique_revision", "02-label", "04-evaluate"]
    assert (critique["completions"], label["completions"], evaluate["completions"]) == (8 * 5, 8 * 4, 4 * 3)
    assert [step["comparisons"]["most"] for step in (critique, label, evaluate)] == [16, 40, 8]
    assert summary["cost_usd"] == pytest.approx(sum(step["cost_usd"] for step in summary["estimate"]))
    show_estimate(summary)
    assert "02-label" in capsys.readouterr().out


async def test_without_prices_no_cost_is_made_up(given: Path, tmp_path: Path):
    settings = Settings.load(overrides=["cache=off"], environment={})
    found = await estimate_file(given, LabelRequest("civic", "starter-judge"), settings)
    assert found["cost_usd"] is None
    assert found["estimate"][0]["judge_tokens"]["prompt"] > 0

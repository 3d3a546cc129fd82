"""Runs of a recipe with scripted models and a scripted trainer: steps, resuming, the report, failures."""

import asyncio
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from api.children import Progress
from api.recipes import Recipe
from api.workflows import align
from solon.chat import ChatReply
from solon.datasets import read_pairs
from solon.documents import validated
from solon.errors import BudgetSpent, Conflict, CoverageTooLow, InvalidInput, NotFound, TrainingFailed
from solon.fakes import Call, ScriptedChat, first_slot_judge, text_reply
from solon.records import Completion, Prompt
from solon.settings import Settings
from tests.unit.api.scripted_runs import RECIPE, Runs, policy
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import run as run
from tests.unit.api.scripted_runs import settings as settings
from tests.unit.trainer.monitor.test_alarm import seen
from trainer.config import (
    AnyConfig,
    DPOConfig,
    GRPOConfig,
    PlanConfig,
    PPOConfig,
    RewardConfig,
    RewardModelSource,
    RLOOConfig,
    SFTConfig,
)
from trainer.data import read_samples
from trainer.monitor.summary import summary as monitor_summary
from trainer.report import Report
from trainer.rewards.sources import Service, opened


async def test_a_run_labels_trains_and_reports(run: Runs):
    summary = await run()
    assert run.steps("step_started") == run.steps("step_finished") == ["01-label", "02-dpo", "03-evaluate"]
    assert run.events[-1].type == "run_finished"
    assert run.events[-1].detail == summary
    report = Report.model_validate_json((run.out / "report.json").read_bytes())
    assert (run.out / "report.html").read_text().startswith("<!doctype html>")
    assert report.win_rate is not None
    assert report.control is not None
    assert report.control.win_rate is not None
    assert report.win_rate.value > report.control.win_rate.value
    assert (report.kl_nats, report.control.kl_nats) == (2.0, 1.0)
    assert report.win_rate.n == report.before.prompts == 5 if report.before else False
    assert set(report.training) == {"after", "control"}
    assert summary["steps"]["03-evaluate"]["kl_nats"] == 2.0


async def test_a_run_with_a_budget_stops_and_goes_on_for_nothing_twice(run: Runs, settings: Settings, tmp_path: Path):
    def paid(runs: Runs) -> int:
        return runs.models.judge.calls + runs.models.policy.calls

    whole = tmp_path / "whole"
    whole.mkdir()
    at_once = Runs(settings.model_copy(update={"cache": tmp_path / "other.db"}), whole)
    await at_once()
    stops = 0
    while not any(event.type == "run_finished" for event in run.events):
        before, stops = paid(run), stops + 1
        with suppress(BudgetSpent):
            await run("budget.calls=60")
        assert paid(run) - before <= 60
    assert stops == math.ceil(paid(at_once) / 60)
    assert paid(run) == paid(at_once)
    assert (run.out / "01-label" / "pairs.jsonl").read_bytes() == (whole / "01-label" / "pairs.jsonl").read_bytes()


async def test_the_control_is_the_same_training_on_shuffled_labels(run: Runs):
    await run()
    main, control = [config for config in run.trainer.configs if isinstance(config, DPOConfig)]
    assert (main.shuffle_labels, control.shuffle_labels) == (False, True)
    changed = {"shuffle_labels": False, "output": main.output, "state": main.state}
    assert control.model_copy(update=changed) == main


async def test_a_second_run_skips_every_step(run: Runs):
    first = await run()
    trained, judged = len(run.trainer.configs), run.models.judge.calls
    again = await run()
    assert run.steps("step_skipped") == ["01-label", "02-dpo", "03-evaluate"]
    assert (len(run.trainer.configs), run.models.judge.calls) == (trained, judged)
    assert again == {**first, "paid": {}}


async def test_a_change_redoes_what_it_touches(run: Runs):
    await run()
    await run("steps.1.beta=0.5")
    assert (run.steps("step_skipped"), run.steps("step_started")) == (["01-label"], ["02-dpo", "03-evaluate"])
    await run("steps.1.beta=0.5", "prompts.eval_limit=4")
    assert run.steps("step_started") == ["03-evaluate"]
    await run("seed=1")
    assert run.steps("step_skipped") == []


async def test_an_output_that_was_tampered_with_is_made_again(run: Runs):
    await run()
    with (run.out / "01-label" / "pairs.jsonl").open("a") as pairs:
        pairs.write("\n")
    await run()
    assert run.steps("step_started")[0] == "01-label"


async def test_a_run_that_failed_goes_on_where_it_was(run: Runs):
    run.trainer.fails = "dpo"
    with pytest.raises(TrainingFailed):
        await run()
    assert run.events[-1].type == "run_failed"
    assert run.events[-1].detail["remedy"] == "lower the learning rate"
    run.trainer.fails = ""
    await run()
    assert run.steps("step_skipped") == ["01-label"]


async def test_no_question_is_put_to_the_judge_twice(run: Runs):
    await run()
    asked = run.models.judge.calls
    (run.out / "01-label" / "step.json").unlink()
    await run()
    assert run.models.judge.calls == asked


async def test_a_judge_that_sees_only_the_slot_trains_nothing(run: Runs):
    run.models.judge = first_slot_judge()
    summary = await run("steps=[{type: label, candidates: 2}]")
    assert set(summary["steps"]["01-label"]["statuses"]) == {"tie"}


async def test_revisions_that_win_are_pairs_to_train_on(run: Runs):
    def script(call: Call) -> ChatReply:
        response = call.between("RESPONSE")
        if "critique only" in call.text:
            return text_reply("It is bad.")
        return text_reply("a bad answer" if response is None else f"{response} good good")

    run.models.policy = ScriptedChat("critic", script)
    steps = "steps=[{type: critique_revision, rounds: 1}, {type: dpo}]"
    summary = await run(steps)
    revised = summary["steps"]["01-critique_revision"]
    assert (revised["chains"], revised["kept"], revised["win_rate"]["value"]) == (6, 6, 1.0)
    (config,) = run.trainer.configs
    assert isinstance(config, DPOConfig)
    assert config.pairs == run.out / "01-critique_revision" / "critiques.pairs.jsonl"
    await run(steps)
    assert run.steps("step_skipped") == ["01-critique_revision", "02-dpo"]


CAI = (
    "steps=[{type: critique_revision, rounds: 1}, {type: sft}, {type: label, candidates: 2}, {type: reward_model},"
    " {type: ppo, steps: 3}, {type: evaluate}]"
)


def revising(call: Call) -> ChatReply:
    """Answers badly, and revises to something better."""
    response = call.between("RESPONSE")
    if "critique only" in call.text:
        return text_reply("It is bad.")
    return text_reply("a bad answer" if response is None else f"{response} good good")


async def test_constitutional_ai_runs_from_critique_to_ppo_each_step_on_what_the_last_one_made(run: Runs):
    run.models.policy = ScriptedChat("critic", revising)
    run.models.trained["model"] = policy("good", "bad")
    summary = await run(CAI)
    sft, reward, ppo = run.trainer.configs[:3]
    assert isinstance(sft, SFTConfig)
    assert isinstance(reward, RewardConfig)
    assert isinstance(ppo, PPOConfig)
    assert [row.completion.text for row in read_samples(sft.rows)] == ["a bad answer good good"] * 6
    assert sft.model.name == "starter"
    assert reward.model == ppo.model == run.out / "02-sft" / "model"
    assert reward.pairs == run.out / "03-label" / "pairs.jsonl"
    (source,) = ppo.rewards
    assert isinstance(source, RewardModelSource)
    assert source.path == run.out / "04-reward_model" / "reward_model"
    assert len(ppo.prompts.read_text().splitlines()) == 6
    assert ppo.state == run.out / "unfinished" / "05-ppo"
    report = Report.model_validate_json((run.out / "report.json").read_bytes())
    assert report.method == "ppo"
    assert summary["steps"]["03-label"]["prompts"] == 6
    assert run.models.trained["model"].calls > 6
    await run(CAI)
    assert len(run.steps("step_skipped")) == 6


async def test_ppo_stays_good_at_what_the_last_sft_step_learnt(run: Runs):
    run.models.policy, run.models.trained["model"] = ScriptedChat("critic", revising), policy("good", "bad")
    await run(CAI.replace("type: ppo", "type: ppo, ptx_weight: 0.5").replace(", {type: evaluate}", ""))
    ppo = run.trainer.configs[2]
    assert isinstance(ppo, PPOConfig)
    assert ppo.ptx is not None
    assert ppo.ptx == run.out / "02-sft" / "rows.jsonl"
    assert ppo.ptx_weight == 0.5
    assert [row.completion.text for row in read_samples(ppo.ptx)] == ["a bad answer good good"] * 6


async def test_a_change_of_a_late_step_redoes_no_early_one(run: Runs):
    steps = "steps=[{type: label, candidates: 2}, {type: reward_model}, {type: ppo, steps: 3}]"
    await run(steps)
    await run(steps, "steps.2.kl={beta: 0.2}")
    assert run.steps("step_skipped") == ["01-label", "02-reward_model"]
    assert run.steps("step_started") == ["03-ppo"]


async def test_one_labelled_set_makes_a_model_of_helpfulness_and_one_of_safety(run: Runs):
    steps = [
        {"type": "label", "candidates": 2},
        {"type": "reward_model", "name": "helpfulness", "weights": {"tag:harmlessness": 0.1}},
        {"type": "reward_model", "name": "safety", "weights": {"tag:helpfulness": 0.0, "tag:tone": 0.0}},
        {"type": "ppo", "steps": 3, "rewards": [{"type": "gate"}], "costs": [{"type": "rules"}]},
    ]
    await run(f"steps={json.dumps(steps)}")
    helpfulness, safety, ppo = run.trainer.configs
    assert isinstance(ppo, PPOConfig)
    assert isinstance(helpfulness, RewardConfig)
    assert isinstance(safety, RewardConfig)
    assert helpfulness.pairs == run.out / "02-reward_model" / "pairs.jsonl"
    assert {pair.provenance.weights["tag:tone"] for pair in read_pairs(safety.pairs)} == {0.0}
    (gate,) = ppo.rewards
    assert gate.type == "gate"
    assert (gate.helpfulness, gate.safety) == (helpfulness.output, safety.output)
    assert [cost.name for cost in ppo.costs] == ["rules"]


async def test_rules_are_served_to_the_training_child_as_a_reward(run: Runs, tmp_path: Path):
    prompts = tmp_path / "openings.jsonl"
    prompts.write_text('{"prompt": "There was a cat."}\n')
    found: list[list[float | None]] = []

    async def train(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        assert isinstance(config, PPOConfig)
        (service,) = opened(config.rewards)
        prompt = Prompt.model_validate_json(config.prompts.read_text())
        texts = ("They were kind and shared.", "It was a scary monster.")
        items = [(prompt, Completion(text=text)) for text in texts]
        found.append(list(await asyncio.to_thread(service.scores, items)))
        return await run.trainer(config, where, progress)

    values = {"constitution": "stories", "judge": None, "prompts": {"train": str(prompts)}}
    steps = [{"type": "ppo", "rewards": [{"type": "rules"}]}]
    recipe = validated(Recipe, RECIPE | values | {"steps": steps}, "test")
    await align(recipe, run.settings, run.out, run.events.append, models=run.models, train=train)
    ((kind, scary),) = found
    assert kind is not None
    assert scary is not None
    assert kind > 0 > scary


@pytest.mark.parametrize(("kind", "config_of"), [("ppo", PPOConfig), ("grpo", GRPOConfig), ("rloo", RLOOConfig)])
async def test_a_monitor_is_told_what_to_ask_and_its_alarm_is_an_event(run: Runs, kind: str, config_of: Any):
    asked: dict[str, Any] = {}
    prompt = Prompt.model_validate({"id": "x", "messages": [{"role": "user", "content": "Hm?"}]})

    async def train(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        done = await run.trainer(config, where, progress)
        if not isinstance(config, config_of):
            return done
        assert isinstance(config, PPOConfig | GRPOConfig | RLOOConfig)
        assert config.monitor is not None
        assert config.monitor.judge is not None
        asked["config"] = config.monitor
        judge, good, bad = Service(config.monitor.judge), Completion(text="good"), Completion(text="bad")
        items = [(prompt, good), (prompt, bad), (prompt, good)]
        asked["judge"] = await asyncio.to_thread(judge.preferences, items, [bad, good, good])
        refusals = Service(config.monitor.judge.model_copy(update={"name": "refusals"}))
        texts = [Completion(text="I can't help you with that."), good]
        asked["refusals"] = await asyncio.to_thread(refusals.scores, [(prompt, text) for text in texts])
        alarm = {"step": 2, "message": "The reward is being hacked."}
        monitor = {"alarm": alarm, "published": {"step": 1}, "fits": {}, "observations": 3}
        return done | {"ended_by": "alarm", "monitor": monitor}

    steps = [
        {"type": "label", "candidates": 2},
        {"type": "reward_model"},
        {"type": kind, "steps": 3, "monitor": {"every": 1, "limit": 4}},
    ]
    summary = await run(f"steps={json.dumps(steps)}", "held_out_judge=other-judge", train=train)
    better, worse, same = asked["judge"]
    assert better > 0.5 > worse
    assert same == 0.5
    assert asked["refusals"] == [1.0, 0.0]
    monitor = asked["config"]
    assert monitor.oracle
    assert len(monitor.prompts.read_text().splitlines()) == 4
    assert len(list(read_samples(monitor.text))) == 64
    (alarm,) = [event for event in run.events if event.type == "alarm"]
    assert alarm.message == "The reward is being hacked."
    result = summary["steps"][f"03-{kind}"]
    assert (result["monitor"]["published"], result["ended_by"]) == ({"step": 1}, "alarm")


async def test_what_a_monitor_of_grpo_saw_is_in_the_report_and_counts_as_an_input(run: Runs):
    async def train(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        done = await run.trainer(config, where, progress)
        if isinstance(config, GRPOConfig):
            observations = [seen(0, [0.0, 0.1], [0.6, 0.7]), seen(3, [1.0, 1.1], [0.2, 0.4])]
            lines = (each.model_dump_json() + "\n" for each in observations)
            (config.output / "monitor.jsonl").write_text("".join(lines))
            published = {"step": 0, "last_step": 3, "because": "the best judge of 2 observations"}
            found = monitor_summary(observations, None, published)
            (config.output / "monitor.json").write_text(found.model_dump_json())
        return done

    steps = [
        {"type": "label", "candidates": 2},
        {"type": "reward_model"},
        {"type": "grpo", "steps": 3, "monitor": {"every": 1, "limit": 4}},
        {"type": "evaluate"},
    ]
    again = ["held_out_judge=other-judge", f"steps={json.dumps(steps)}"]
    await run(*again, train=train)
    report = Report.model_validate_json((run.out / "report.json").read_bytes())
    assert [each.step for each in report.observations] == [0, 3]
    assert report.monitor is not None
    assert report.monitor.published["step"] == 0
    assert "the best judge of 2 observations" in (run.out / "report.html").read_text()
    await run(*again, train=train)
    assert "03-grpo" in run.steps("step_skipped")
    await run(again[1], train=train)  # nobody is held out any more
    assert run.steps("step_skipped") == ["01-label", "02-reward_model"]


async def test_rules_alone_need_no_judge(run: Runs, tmp_path: Path):
    openings = tmp_path / "openings.jsonl"
    openings.write_text("".join(f'{{"prompt": "There was a cat {number}."}}\n' for number in range(32)))
    run.models.policy = policy("They were kind and shared.", "It was a scary monster.")
    run.models.trained["model"] = policy("They were kind and shared.")
    await run("constitution=stories", "judge=null", f"prompts={{train: {openings}, eval: {openings}}}")
    report = Report.model_validate_json((run.out / "report.json").read_bytes())
    (reward,) = report.measures
    assert reward.id == "rule_reward"
    assert reward.difference is not None
    assert reward.difference.low > 0
    assert (report.before, report.judge) == (None, None)
    assert run.models.judge.calls == 0


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["policy=gpt"], NotFound),
        (["judge=starter"], InvalidInput),
        (["judge=null"], InvalidInput),
        (["constitution=nowhere"], NotFound),
        (["prompts.train=builtin:agora/other"], NotFound),
        (["steps.0.min_coverage=1.0", "prompts.limit=2"], CoverageTooLow),
    ],
)
async def test_what_cannot_work_is_said_in_an_event_and_an_error(
    run: Runs, overrides: list[str], error: type[Exception]
):
    def silent(call: Call) -> ChatReply:
        return text_reply("I cannot say")

    run.models.judge = ScriptedChat("silent", silent)
    with pytest.raises(error):
        await run(*overrides)
    assert run.events[-1].type == "run_failed"


async def test_two_runs_do_not_share_a_folder(run: Runs, settings: Settings, out: Path):
    other = Runs(settings, out)
    results = await asyncio.gather(run(), other(), return_exceptions=True)
    assert [type(result) for result in results].count(Conflict) == 1


async def test_what_a_training_could_not_do_is_found_before_anything_is_paid(run: Runs):
    asked: list[PlanConfig] = []

    async def refuses(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        if not isinstance(config, PlanConfig):
            return await run.trainer(config, where, progress)
        asked.append(config)
        raise TrainingFailed("training failed: no argument of trl.DPOConfig", field="02-dpo.trl.weight_dekay")

    with pytest.raises(TrainingFailed) as caught:
        await run("steps.1.trl={weight_dekay: 0.1}", train=refuses)
    assert str(caught.value) == "02-dpo.trl.weight_dekay: training failed: no argument of trl.DPOConfig"
    assert run.models.judge.calls == 0
    assert [training.name for training in asked[0].trainings] == ["02-dpo"]
    assert not asked[0].measure
    await run(train=refuses)
    assert len(asked) == 1

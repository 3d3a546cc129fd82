"""Rounds of a recipe: unrolled, resumed, redone where something changed, ended early."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from api import workflows
from api.run_context import Outcome, Run, Ticks
from api.steps.dpo import DPO
from solon.errors import TrainingFailed
from tests.unit.api.scripted_runs import Runs, policy
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import run as run
from tests.unit.api.scripted_runs import settings as settings
from trainer.config import DPOConfig

ONLINE = "steps=[{type: rounds, times: 3, steps: [{type: label, candidates: 2}, {type: dpo}]}]"
NAMES = [f"01.{turn}.{step}" for turn in (1, 2, 3) for step in ("1-label", "2-dpo")]


@pytest.fixture(autouse=True)
def what_is_trained_still_errs(run: Runs) -> None:
    run.models.trained["model"] = policy("good", "bad")


def trainings(run: Runs) -> list[DPOConfig]:
    return [config for config in run.trainer.configs if isinstance(config, DPOConfig)]


async def test_each_round_labels_what_the_round_before_it_made(run: Runs):
    await run(ONLINE)
    assert run.steps("step_finished") == NAMES
    first, second, third = trainings(run)
    assert first.model.name == "starter"
    assert (second.model, third.model) == (run.out / "01.1.2-dpo" / "model", run.out / "01.2.2-dpo" / "model")
    assert second.pairs == run.out / "01.2.1-label" / "pairs.jsonl"
    assert run.models.directories["01.1.2-dpo-policy"] == second.model
    assert len({config.seed for config in (first, second, third)}) == 3


async def test_one_round_is_what_its_steps_are_without_rounds(run: Runs):
    await run(ONLINE.replace("times: 3", "times: 1"))
    inside = (run.out / "01.1.1-label" / "pairs.jsonl").read_bytes()
    await run("steps=[{type: label, candidates: 2}, {type: dpo}]")
    assert (run.out / "01-label" / "pairs.jsonl").read_bytes() == inside


async def test_rounds_have_the_same_prompts_unless_fresh_ones_are_wanted(run: Runs):
    def asked(turn: int) -> str:
        return json.loads((run.out / f"01.{turn}.1-label" / "step.json").read_text())["inputs"]["prompts"]

    await run(ONLINE)
    assert asked(1) == asked(2) == asked(3)
    await run(ONLINE.replace("times: 3", "times: 3, fresh_prompts: true"))
    assert len({asked(1), asked(2), asked(3)}) == 3


async def test_a_run_that_stopped_in_a_round_goes_on_there(run: Runs):
    done = run.trainer.__call__

    async def fails_in_the_second_round(config: Any, where: Path, progress: Any) -> dict[str, Any]:
        if "01.2.2" in str(where):
            raise TrainingFailed("killed", remedy="start again")
        return await done(config, where, progress)

    with pytest.raises(TrainingFailed):
        await run(ONLINE, train=fails_in_the_second_round)
    finished = len(run.trainer.configs)
    await run(ONLINE)
    assert run.steps("step_skipped") == NAMES[:3]
    assert len(run.trainer.configs) == finished + 2
    await run(ONLINE)
    assert run.steps("step_skipped") == NAMES


async def test_more_rounds_redo_none_of_those_that_are_done(run: Runs):
    await run(ONLINE.replace("times: 3", "times: 2"))
    await run(ONLINE)
    assert run.steps("step_skipped") == NAMES[:4]
    assert run.steps("step_finished") == NAMES[4:]


async def test_a_step_may_end_its_rounds_and_the_steps_after_them_are_done(run: Runs, monkeypatch: pytest.MonkeyPatch):
    class Content(DPO):
        async def do(self, step: Any, run: Run, folder: Path, ticks: Ticks) -> Outcome:
            await asyncio.sleep(0)
            made = await super().do(step, run, folder, ticks)
            return Outcome(made.outputs, made.result, "good enough" if ".2.2" in folder.name else "")

    monkeypatch.setitem(workflows.WORK, "dpo", Content())
    steps = ONLINE.removesuffix("]") + ", {type: evaluate}]"
    await run(steps)
    assert run.steps("step_finished") == [*NAMES[:4], "02-evaluate"]
    assert run.steps("step_skipped") == NAMES[4:]
    report = json.loads((run.out / "report.json").read_text())
    assert report["provenance"]["digests"]["model"]
    await run(steps)  # what ended them is remembered
    assert run.steps("step_started") == []

"""Methods side by side, with scripted models and a scripted trainer."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.children import Progress
from api.events import Event
from api.method_trials import Spread, chosen, compare, shipped
from api.recipes import Recipe
from solon.errors import InvalidInput
from solon.settings import Settings
from tests.unit.api.scripted_runs import RECIPE, Models, Trainer
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import settings as settings
from trainer.config import AnyConfig


class Weighing(Trainer):
    """Children that hold 100 MiB, and 10 more with each."""

    async def __call__(self, config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        """As the scripted trainer."""
        return await super().__call__(config, where, progress) | {"peak_memory_mib": 100.0 + 10 * len(self.configs)}


def recipes() -> dict[str, Recipe]:
    return {"tiny": Recipe.model_validate(RECIPE)}


async def test_every_seed_is_a_run_and_the_numbers_are_its_reports(settings: Settings, out: Path):
    events: list[Event] = []
    found = await compare(recipes(), 2, settings, out, events.append, models=Models(), train=Weighing())
    assert [(trial.method, trial.seed) for trial in found.trials] == [("tiny", 0), ("tiny", 1)]
    report = json.loads((out / "tiny-seed-1" / "report.json").read_text())
    assert found.trials[1].numbers["violation_rate"] == report["after"]["violation_rate"]
    assert found.before.numbers["violation_rate"].mean == report["before"]["violation_rate"]
    assert found.rows[0].numbers["kl_nats"] == Spread(mean=2.0, low=2.0, high=2.0, seeds=2)
    assert found.trials[0].numbers["peak_memory_mib"] == 120.0  # of model and control; measuring the KL is no training
    assert found.prompts == 5
    assert {event.step.split()[0] for event in events if event.step} == {"tiny-seed-0", "tiny-seed-1"}
    assert json.loads((out / "methods.json").read_text()) == found.model_dump(mode="json")


async def test_a_comparison_that_was_stopped_goes_on(settings: Settings, out: Path):
    first, again = Weighing(), Weighing()
    one = await compare(recipes(), 1, settings, out, lambda _: None, models=Models(), train=first)
    two = await compare(recipes(), 1, settings, out, lambda _: None, models=Models(), train=again)
    assert again.configs == []
    assert two == one


async def test_prompts_that_no_oracle_reads_are_refused(settings: Settings, out: Path, tmp_path: Path):
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"prompt": "How do I bake bread?"}\n{"prompt": "And cake?"}\n')
    recipe = Recipe.model_validate(RECIPE | {"prompts": {"limit": 6, "eval": str(asked)}})
    with pytest.raises(InvalidInput, match="oracle reads"):
        await compare({"tiny": recipe}, 1, settings, out, lambda _: None, models=Models(), train=Weighing())


def test_bounds_are_students():
    # t(0.975, 2 degrees) = 4.303; standard deviation of 1, 2, 3 is 1.
    assert Spread.of([1.0, 2.0, 3.0]) == Spread(mean=2.0, low=2 - 4.303 / 3**0.5, high=2 + 4.303 / 3**0.5, seeds=3)
    assert Spread.of([1.5]) == Spread(mean=1.5, seeds=1)
    assert Spread.of([]) is None


def test_all_shipped_methods_start_and_end_alike():
    found = shipped()
    assert {"dpo", "ppo"} <= set(found)
    first = found["dpo"]
    for name, recipe in found.items():
        assert recipe.name == name
        yardstick = recipe.held_out_judge or recipe.judge
        assert (recipe.prompts, recipe.constitution, recipe.policy, yardstick) == (
            first.prompts,
            first.constitution,
            first.policy,
            first.judge,
        )
        assert recipe.steps[-1] == first.steps[-1]


def test_a_method_is_a_name_or_a_file(tmp_path: Path):
    assert list(chosen(["ppo"])) == ["ppo"]
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(RECIPE))
    assert list(chosen(["dpo", str(path)])) == ["dpo", "tiny"]
    with pytest.raises(InvalidInput, match="there is no method 'nope'"):
        chosen(["nope"])

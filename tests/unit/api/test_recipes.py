"""Recipes: the schema, overrides, and what is refused with which words."""

from pathlib import Path
from typing import Any

import pytest

from api.recipe_files import files_named, load_recipe
from api.recipes import DPOStep, GRPOStep, LabelStep, Recipe
from solon.documents import validated
from solon.errors import InvalidInput, NotFound

TEXT = """
name: civic-dpo
constitution: civic
policy: starter
judge: starter-judge
held_out_judge: null
prompts: {train: builtin:agora/train, eval: builtin:agora/eval, limit: 256}
seed: 0
steps:
  - {type: label, candidates: 4, pairing: max_margin}
  - {type: dpo, beta: 0.1, epochs: 2}
  - {type: evaluate}
"""


def written(tmp_path: Path, text: str = TEXT) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_the_recipe_of_the_contract_is_read(tmp_path: Path):
    recipe = load_recipe(written(tmp_path))
    assert [step.type for step in recipe.steps] == ["label", "dpo", "evaluate"]
    assert isinstance(recipe.steps[0], LabelStep)
    assert recipe.prompts.limit == 256


def test_an_override_reaches_into_a_list(tmp_path: Path):
    recipe = load_recipe(written(tmp_path), ["steps.1.beta=0.2", "prompts.limit=8", "name=other"])
    assert isinstance(recipe.steps[1], DPOStep)
    assert recipe.steps[1].beta == 0.2
    assert (recipe.prompts.limit, recipe.name) == (8, "other")


def test_paths_are_taken_from_the_recipes_folder(tmp_path: Path):
    recipe = load_recipe(written(tmp_path), ["prompts.train=openings.jsonl", "constitution=mine.yaml"])
    assert recipe.prompts.train == str(tmp_path / "openings.jsonl")
    assert recipe.constitution == str(tmp_path / "mine.yaml")
    assert files_named(recipe) == ["prompts.train", "constitution"]
    assert files_named(load_recipe(written(tmp_path))) == []
    watched = "steps.2={type: grpo, rewards: [{type: judge}], monitor: {prompts: watched.jsonl}}"
    recipe = load_recipe(written(tmp_path), [watched])
    assert isinstance(recipe.steps[2], GRPOStep)
    assert recipe.steps[2].monitor is not None
    assert recipe.steps[2].monitor.prompts == str(tmp_path / "watched.jsonl")
    assert files_named(recipe) == ["steps.2.monitor.prompts"]


@pytest.mark.parametrize(
    ("overrides", "field", "says"),
    [
        (["steps.0.type=magic"], "steps.0", "known `type`; available: critique_revision, sft, label"),
        (["steps.1.beta=-1"], "steps.1.beta", "greater than 0"),
        (["steps.1.bta=1"], "steps.1.bta", "Extra inputs"),
        (["steps.7.beta=1"], "steps.7", "no such list item"),
        (["steps=[{type: dpo}]"], None, "steps.0: `dpo` needs a `label` step before it"),
        (["steps=[{type: ppo}]"], None, "steps.0: `ppo` needs a `reward_model` step before it"),
        (["steps=[{type: grpo}]"], None, "steps.0: `grpo` needs a `reward_model` step before it"),
        (["steps=[{type: kto}]"], None, "steps.0: `kto` needs a `label` step before it"),
        (["steps=[{type: sft}]"], None, "steps.0: `sft` needs a `critique_revision` step before it"),
        (
            ["steps.1={type: reward_model, name: help}", "steps.2={type: ppo}"],
            None,
            "steps.2: no `reward_model` step before it has the name `reward_model`",
        ),
        (
            ["steps.1={type: reward_model}", "steps.2={type: ppo, costs: [{type: reward_model}]}"],
            "steps.2",
            "each reward model, may be there once",
        ),
        (
            ["steps.1={type: reward_model}", "steps.2={type: ppo, ptx_weight: 0.5}"],
            None,
            "steps.2: `ptx_weight` needs an `sft` step before it",
        ),
        (["steps.2.type=ppo", "steps.2.clip=0"], "steps.2.clip", "greater than 0"),
        (
            ["steps.1={type: reward_model}", "steps.2={type: ppo, rollouts: {model: far}}"],
            "steps.2",
            "`rollouts` needs `lora`",
        ),
        (
            ["steps.1={type: reward_model}", "steps.2={type: ppo, lora: {}, rollouts: {model: 'http://x/v1'}}"],
            "steps.2.rollouts.model",
            "match pattern",
        ),
        (
            ["steps.2={type: ppo, rewards: [{type: rules}], lora: {}, rollouts: {model: far}}"],
            None,
            "steps.2: the server of `rollouts` has the recipe's policy, which another step has trained by then",
        ),
        (
            ["steps.1={type: reward_model}", "steps.2={type: grpo, processes: 2, sharding: zero2, monitor: {}}"],
            "steps.2",
            "`monitor` needs all weights",
        ),
        (["steps=[]"], "steps", "at least 1 item"),
        (["seed=many"], "seed", "valid integer"),
        (["judge=http://x/v1"], "judge", "match pattern"),
        (["held_out_judge=starter-judge"], None, "`held_out_judge` is the judge itself"),
    ],
)
def test_a_wrong_recipe_names_the_field(tmp_path: Path, overrides: list[str], field: str | None, says: str):
    with pytest.raises(InvalidInput) as caught:
        load_recipe(written(tmp_path), overrides)
    assert says in caught.value.message
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_missing_recipe_is_not_found(tmp_path: Path):
    with pytest.raises(NotFound):
        load_recipe(tmp_path / "absent.yaml")


def test_a_recipe_survives_json(tmp_path: Path):
    recipe = load_recipe(written(tmp_path))
    again: dict[str, Any] = recipe.model_dump(mode="json")
    assert validated(Recipe, again, "json") == recipe


def test_rounds_are_unrolled_into_named_steps(tmp_path: Path):
    rounds = "{type: rounds, times: 2, steps: [{type: label}, {type: dpo}]}"
    recipe = load_recipe(written(tmp_path), [f"steps=[{{type: label}}, {rounds}, {{type: evaluate}}]"])
    names = ["01-label", "02.1.1-label", "02.1.2-dpo", "02.2.1-label", "02.2.2-dpo", "03-evaluate"]
    assert [planned.name for planned in recipe.planned()] == names
    assert [planned.place for planned in recipe.planned()][1:3] == ["steps.1.steps.0", "steps.1.steps.1"]
    assert validated(Recipe, recipe.model_dump(mode="json"), "json") == recipe


@pytest.mark.parametrize(
    ("rounds", "says"),
    [
        ("{type: rounds, times: 2, steps: [{type: dpo}, {type: label}]}", "steps.0.steps.0: `dpo` needs a `label`"),
        ("{type: rounds, times: 0, steps: [{type: label}]}", "greater than or equal to 1"),
        ("{type: rounds, times: 2, steps: [{type: rounds, times: 2, steps: [{type: label}]}]}", "`rounds`"),
        ("{type: rounds, times: 2, steps: []}", "at least 1 item"),
        (
            "{type: rounds, times: 2, steps: [{type: ppo, rewards: [{type: rules}], lora: {}, rollouts: {model: m}}]}",
            "steps.0.steps.0: the server of `rollouts` has the recipe's policy",
        ),
    ],
)
def test_wrong_rounds_are_refused_with_their_place(tmp_path: Path, rounds: str, says: str):
    with pytest.raises(InvalidInput) as caught:
        load_recipe(written(tmp_path), [f"steps=[{rounds}]"])
    assert says in f"{caught.value.field} {caught.value.message}"


def test_fresh_prompts_need_to_be_told_how_many(tmp_path: Path):
    rounds = "{type: rounds, times: 2, fresh_prompts: true, steps: [{type: label}]}"
    with pytest.raises(InvalidInput) as caught:
        load_recipe(written(tmp_path), [f"steps=[{rounds}]", "prompts.limit=null"])
    assert "`fresh_prompts` needs `prompts.limit`" in caught.value.message


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "recipes").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_shipped_recipe_is_read(path: Path):
    assert load_recipe(path).name == path.stem

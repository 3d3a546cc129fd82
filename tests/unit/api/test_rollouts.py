"""Recipes that name a registered server to write PPO's completions."""

from pathlib import Path
from typing import Any

import pytest

from api.children import Progress
from api.dry_run import dry_run
from api.recipes import Recipe
from solon.documents import validated
from solon.errors import InvalidInput, NotFound
from solon.settings import Settings
from tests.unit.api.scripted_runs import RECIPE, Runs
from tests.unit.api.scripted_runs import out as out
from tests.unit.api.scripted_runs import run as run
from tests.unit.api.scripted_runs import settings as settings
from trainer.config import AnyConfig, PPOConfig

STEPS = (
    "steps=[{type: label, candidates: 2}, {type: reward_model},"
    " {type: ppo, steps: 3, lora: {rank: 2}, rollouts: {model: far, max_mismatch: 0.1}}]"
)
FAR = (
    "models.far={kind: policy, engine: vllm, endpoint: 'http://far:8000/v1', adapters: /shared/adapters,"
    " max_concurrency: 7, timeout_s: 90.0, api_key_env: FAR_KEY}"
)


def having(run: Runs, *overrides: str) -> Runs:
    """The run under settings with these besides."""
    fresh = Settings.load(overrides=overrides, environment={})
    models = run.settings.models | {name: e for name, e in fresh.models.items() if name not in run.settings.models}
    run.settings = run.settings.model_copy(update={"models": models, "egress": fresh.egress})
    return run


async def test_the_training_is_told_where_the_registered_server_is(run: Runs):
    await having(run, FAR, "egress.models_private=false")(STEPS)
    config = run.trainer.configs[-1]
    assert isinstance(config, PPOConfig)
    assert config.rollouts is not None
    assert config.rollouts.model_dump() == {
        "model": "far",
        "endpoint": "http://far:8000/v1",
        "adapter_dir": Path("/shared/adapters"),
        "max_concurrency": 7,
        "timeout_s": 90.0,
        "api_key_env": "FAR_KEY",
        "allow_private": False,
        "max_mismatch": 0.1,
    }


@pytest.mark.parametrize(
    ("entry", "error", "says"),
    [
        ("models.other={kind: policy, engine: vllm, endpoint: 'http://far:8000/v1'}", NotFound, "registered as 'far'"),
        ("models.far={kind: policy, engine: vllm, endpoint: 'http://far:8000/v1'}", InvalidInput, "takes adapters"),
        ("models.far={kind: policy, engine: vllm, path: /m, adapters: /a}", InvalidInput, "takes adapters"),
        ("models.far={kind: judge, engine: vllm, endpoint: 'http://far:8000/v1'}", InvalidInput, "not a policy"),
    ],
)
async def test_a_server_that_cannot_be_had_is_refused_before_anything_is_done(
    run: Runs, entry: str, error: type[Exception], says: str
):
    with pytest.raises(error, match=says):
        await having(run, entry)(STEPS)
    assert run.models.judge.calls == 0


@pytest.mark.parametrize("what", ["kind: policy, engine: openai", "kind: judge, engine: vllm"])
def test_adapters_belong_to_a_policy_of_vllm(what: str):
    with pytest.raises(InvalidInput, match="`adapters` belong to"):
        Settings.load(overrides=[f"models.far={{{what}, endpoint: 'http://f/v1', adapters: /a}}"], environment={})


async def test_a_dry_run_says_who_writes_the_completions(run: Runs):
    async def plans(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        return {"plans": []}

    step = {"type": "ppo", "rewards": [{"type": "rules"}], "lora": {}, "rollouts": {"model": "far"}}
    recipe = validated(Recipe, RECIPE | {"steps": [step]}, "test")
    found = await dry_run(recipe, having(run, FAR).settings, plans)
    assert found["rollouts"] == {"01-ppo": "far"}
    with pytest.raises(NotFound):
        await dry_run(recipe, Settings.load(environment={}), plans)

"""The `grpo` and `rloo` steps: a training child samples groups of completions and trains on what each of them earns."""

from pathlib import Path

from api import prompts
from api.group_steps import GRPOStep, RLOOStep
from api.recipe_parts import models_of
from api.reward_sources import artifact_name, reward_model, source_of
from api.run_context import Outcome, Run, Ticks
from api.steps.ppo import rewards_served, write_prompts
from trainer.config import GRPOConfig, RLOOConfig


class Groups:
    """Writes the model directory `model`."""

    def inputs(self, step: GRPOStep | RLOOStep, run: Run) -> dict[str, str]:
        """Policy, prompts, and what each reward depends on."""
        found = {"policy": run.policy_digest(), "prompts": prompts.digest(run.train_prompts())}
        for name in (name for term in step.terms for name in models_of(term)):
            found[artifact_name(name)] = reward_model(run, name).digest
        return found | (run.critic_digests() if step.asks_critic else {})

    async def do(self, step: GRPOStep | RLOOStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model; rules and judge are served to the child while it trains."""
        write_prompts(run, folder)
        async with rewards_served(step.terms, run) as url:
            shown = ("reward", "kl", "tokens", "unfinished")
            done = await run.train(_config(step, run, folder, url), folder / "model-run", ticks.steps(*shown))
        result = {name: done.get(name) for name in ("prompts", "dropped", "metrics")}
        return Outcome({"model": folder / "model"}, result)


def _config(step: GRPOStep | RLOOStep, run: Run, folder: Path, url: str) -> GRPOConfig | RLOOConfig:
    kind = GRPOConfig if isinstance(step, GRPOStep) else RLOOConfig
    return kind(
        **step.model_dump(exclude={"rewards", "lora"}),
        lora=step.lora,
        model=run.policy_path(),
        prompts=folder / "prompts.jsonl",
        rewards=[source_of(term, run, url) for term in step.rewards],
        output=folder / "model",
        state=run.unfinished(folder),
        seed=run.recipe.seed,
    )

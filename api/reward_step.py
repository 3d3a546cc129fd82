"""The `reward_model` step: a training child on the latest pairs makes a reward model or an ensemble."""

from pathlib import Path

from api.recipes import RewardModelStep
from api.steps import Outcome, Run, Ticks
from trainer.config import RewardConfig


class RewardModel:
    """Writes the directory `reward_model`."""

    def inputs(self, step: RewardModelStep, run: Run) -> dict[str, str]:
        """The policy, which the reward model begins as, and pairs."""
        return {"policy": run.policy_digest(), "pairs": run.artifacts["pairs"].digest}

    async def do(self, step: RewardModelStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model, and what it is worth on prompts that it was not trained on."""
        config = RewardConfig(
            **step.model_dump(exclude={"type"}),
            type="reward",
            model=run.policy_path(),
            pairs=run.artifacts["pairs"].path,
            output=folder / "reward_model",
            state=run.unfinished(folder),
            seed=run.recipe.seed,
        )
        done = await run.train(config, folder / "reward_model-run", ticks.steps("loss", "accuracy", "margin"))
        result = {name: done.get(name) for name in ("pairs", "dropped", "metrics", "held_out")}
        return Outcome({"reward_model": folder / "reward_model"}, result)

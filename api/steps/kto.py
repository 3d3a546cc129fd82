"""The `kto` step: a training child on the completions of the latest pairs, each good or bad by itself."""

from pathlib import Path

from api.group_steps import KTOStep
from api.run_context import Outcome, Run, Ticks
from trainer.config import KTOConfig


class KTO:
    """Writes the model directory `model`."""

    def inputs(self, step: KTOStep, run: Run) -> dict[str, str]:
        """Policy and pairs."""
        return {"policy": run.policy_digest(), "pairs": run.artifacts["pairs"].digest}

    async def do(self, step: KTOStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model."""
        config = KTOConfig(
            **step.model_dump(exclude={"type", "lora"}),
            lora=step.lora,
            type="kto",
            model=run.policy_path(),
            pairs=run.artifacts["pairs"].path,
            output=folder / "model",
            state=run.unfinished(folder),
            references=run.out / "references",
            seed=run.recipe.seed,
        )
        done = await run.train(config, folder / "model-run", ticks.steps("loss", "kl", "reward_margin"))
        result = {name: done.get(name) for name in ("votes", "dropped", "metrics")}
        result["pairs"] = done.get("votes", 0) // 2
        return Outcome({"model": folder / "model"}, result)

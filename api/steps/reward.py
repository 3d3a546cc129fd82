"""The `reward_model` step: a training child on the latest pairs makes a reward model or an ensemble."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from api.recipes import RewardModelStep
from api.reward_sources import artifact_name
from api.reweighting import reweight
from api.run_context import Outcome, Run, Ticks
from solon.datasets import PairWriter, read_pairs
from solon.records import Discard, PreferencePair
from trainer.config import RewardConfig


class RewardModel:
    """Writes the directory `reward_model`, or the name that the step gives it."""

    def inputs(self, step: RewardModelStep, run: Run) -> dict[str, str]:
        """The policy, which the reward model begins as, and pairs."""
        return {"policy": run.policy_digest(), "pairs": run.artifacts["pairs"].digest}

    async def do(self, step: RewardModelStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model, and what it is worth on prompts that it was not trained on."""
        config = RewardConfig(
            **step.model_dump(exclude={"type", "name", "weights"}),
            type="reward",
            model=run.policy_path(),
            pairs=await _pairs(step, run, folder),
            output=folder / "reward_model",
            state=run.unfinished(folder),
            seed=run.recipe.seed,
        )
        done = await run.train(config, folder / "reward_model-run", ticks.steps("loss", "accuracy", "margin"))
        result = {name: done.get(name) for name in ("pairs", "dropped", "metrics", "held_out")}
        return Outcome({artifact_name(step.name): folder / "reward_model"}, result)


async def _pairs(step: RewardModelStep, run: Run, folder: Path) -> Path:
    """The latest pairs, under the step's weights."""
    pairs = run.artifacts["pairs"].path
    if not step.weights:
        return pairs
    items, _ = await reweight(read_pairs(pairs), run.constitution, step.weights)
    return await asyncio.to_thread(_written, items, folder / "pairs.jsonl", step)


def _written(items: Sequence[PreferencePair | Discard], path: Path, step: RewardModelStep) -> Path:
    with PairWriter(path, about={"weights": step.weights}) as writer:
        for item in items:
            writer.write(item)
        writer.commit()
    return path

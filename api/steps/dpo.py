"""The `dpo` step: a training child on the latest pairs, and beside it the same on shuffled labels as a control."""

from pathlib import Path
from typing import Any

from api.children import Progress
from api.machine import cores
from api.recipes import DPOStep
from api.run_context import Outcome, Run, Ticks
from critic.concurrency import together
from trainer.config import DPOConfig


class DPO:
    """Writes the model directories `model` and, where it is wanted, `control`."""

    def inputs(self, step: DPOStep, run: Run) -> dict[str, str]:
        """Policy and pairs, and the reference where it is another."""
        found = {"policy": run.policy_digest(), "pairs": run.artifacts["pairs"].digest}
        return found | ({"reference": run.base_digest()} if step.reference == "base" else {})

    async def do(self, step: DPOStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained models; the two trainings share the machine's cores."""
        wanted = ("model", "control") if step.control else ("model",)
        curves = _Curves(wanted, ticks)
        trainings = (
            run.train(_config(step, run, folder / name, len(wanted)), folder / f"{name}-run", curves.of(name))
            for name in wanted
        )
        done = await together(trainings)
        result: dict[str, Any] = {"pairs": done[0].get("pairs"), "dropped": done[0].get("dropped", {})}
        result["metrics"] = done[0].get("metrics", {})
        return Outcome({name: folder / name for name in wanted}, result)


def _config(step: DPOStep, run: Run, output: Path, trainings: int) -> DPOConfig:
    return DPOConfig(
        **step.model_dump(exclude={"type", "control", "lora", "reference"}),
        lora=step.lora,
        type="dpo",
        model=run.policy_path(),
        pairs=run.artifacts["pairs"].path,
        reference=run.base_path() if step.reference == "base" else None,
        output=output,
        state=run.unfinished(output.parent) / output.name,
        # Two trainings of a small model at one thread each are faster than one after the other at two.
        threads=max(1, cores() // trainings) if trainings > 1 else None,
        seed=run.recipe.seed,
        shuffle_labels=output.name == "control",
        references=run.out / "references",
    )


class _Curves:
    """One bar for trainings that run side by side."""

    def __init__(self, names: tuple[str, ...], ticks: Ticks) -> None:
        self._done = dict.fromkeys(names, 0)
        self._total = dict.fromkeys(names, 0)
        self._metrics: dict[str, float] = {}
        self._ticks = ticks

    def of(self, name: str) -> Progress:
        """What the training of this name reports to."""

        def progress(step: int, steps: int, metrics: dict[str, float]) -> None:
            self._done[name], self._total[name] = step, steps
            if name == "model" and metrics:
                shown = ("loss", "reward_accuracy", "reward_margin")
                self._metrics = {key: metrics[key] for key in shown if key in metrics}
            known = sum(self._total.values()) if all(self._total.values()) else None
            self._ticks(sum(self._done.values()), known, "", self._metrics)

        return progress

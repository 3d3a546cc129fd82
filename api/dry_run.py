"""`solon align --dry-run`: what a recipe would ask its models for, and what its trainings would take."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from api import children, prompts
from api.estimating import estimate_recipe
from api.judging import check_marks
from api.named_files import located
from api.recipes import CritiqueRevisionStep, LabelStep, PPOStep, Recipe
from api.rollouts import check_rollouts
from solon.errors import TrainingFailed
from solon.records import Prompt
from solon.settings import Settings
from trainer.config import (
    DPOMethod,
    GRPOMethod,
    KTOMethod,
    PlanConfig,
    PlannedTraining,
    PPOMethod,
    RewardMethod,
    RLOOMethod,
    SFTMethod,
)

_METHODS: dict[str, Any] = {
    "sft": SFTMethod,
    "reward_model": RewardMethod,
    "dpo": DPOMethod,
    "kto": KTOMethod,
    "ppo": PPOMethod,
    "grpo": GRPOMethod,
    "rloo": RLOOMethod,
}


async def dry_run(recipe: Recipe, settings: Settings, train: children.Train = children.train) -> dict[str, Any]:
    """The estimate of calls, with `trainings` where there are some, and `rollouts`: the servers that write completions
    for them, by step. TrainingFailed names what could not run on this machine: a wrong `trl` argument, a tracker that
    is not installed, sharding without accelerators.

    Where the trainer is not installed, `trainings_unknown` says so instead.
    """
    check_rollouts(recipe, settings)
    check_marks(recipe, settings)
    found = await estimate_recipe(recipe, settings)
    steps = ((each.name, each.step) for each in recipe.planned())
    named = {n: step.rollouts.model for n, step in steps if isinstance(step, PPOStep) and step.rollouts is not None}
    found |= {"rollouts": named} if named else {}
    planned = list(_planned(recipe, settings))
    if not planned:
        return found
    done = await _ask(planned, recipe, settings, train, measure=True)
    if done is None:
        return found | {"trainings_unknown": "the trainer is not installed here (pip install 'solon[trainer]')"}
    return found | {"trainings": done["plans"]}


async def check_trainings(recipe: Recipe, settings: Settings, train: children.Train) -> None:
    """Raise TrainingFailed, naming step and field, where a training could not run on this machine.

    A child is asked, which takes seconds, and only where a step has what a recipe alone does not tell to be right.
    """
    doubtful = {planned.name for planned in recipe.planned() if _is_doubtful(planned.step)}
    if doubtful:
        trainings = [training for training in _planned(recipe, settings) if training.name in doubtful]
        await _ask(trainings, recipe, settings, train, measure=False)


def _is_doubtful(step: Any) -> bool:
    if step.type not in _METHODS:
        return False
    return bool(getattr(step, "trl", None) or step.report_to) or step.sharding != "none"


async def _ask(
    planned: list[PlannedTraining], recipe: Recipe, settings: Settings, train: children.Train, *, measure: bool
) -> dict[str, Any] | None:
    """What the child of type `plan` answers; None where the trainer is not installed."""
    with TemporaryDirectory(prefix="solon-dry-run-") as folder:
        config = PlanConfig(
            type="plan",
            model=settings.model(recipe.policy, "policy").directory(),
            trainings=planned,
            output=Path(folder) / "nothing",
            measure=measure,
        )
        try:
            return await train(config, Path(folder) / "plan", lambda _step, _steps, _metrics: None)
        except TrainingFailed as error:
            if "No module named" in error.message:
                return None
            raise


@dataclass
class _Material:
    """What there would be to train on when a step comes, at most."""

    pairs: int = 0
    revisions: int = 0
    tokens: int = 0
    """Of a completion."""


def _planned(recipe: Recipe, settings: Settings) -> Iterator[PlannedTraining]:
    chosen = recipe.prompts
    asked = prompts.prompts(located(chosen.train, settings), chosen.limit, recipe.seed)
    longest = _longest(asked, settings.model(recipe.policy, "policy").characters_per_token)
    material = _Material()
    for planned in recipe.planned():
        step: Any = planned.step
        if isinstance(step, LabelStep):
            material.pairs, material.tokens = len(asked) * _pairs(step), step.max_tokens
        elif isinstance(step, CritiqueRevisionStep):
            material.revisions = len(asked) * (step.rounds + 1)
            material.pairs, material.tokens = len(asked) * step.rounds, step.max_tokens
        elif step.type in _METHODS:
            yield _training(planned.name, step, len(asked), longest, material)


def _training(name: str, step: Any, asked: int, longest: int, material: _Material) -> PlannedTraining:
    kind = _METHODS[step.type]
    method = kind.model_validate_json(step.model_dump_json(include=set(kind.model_fields)))
    rows = {"sft": material.revisions, "dpo": material.pairs, "reward_model": material.pairs, "kto": 2 * material.pairs}
    tokens = min(longest + getattr(method, "max_tokens", material.tokens or 160), method.max_length)
    plain = "reward" if step.type == "reward_model" else step.type
    return PlannedTraining(name=name, kind=plain, method=method, rows=rows.get(step.type) or asked, tokens=tokens)


def _pairs(step: LabelStep) -> int:
    """Pairs of one prompt, at most."""
    count = step.candidates
    return {"max_margin": 1, "random": 1, "adjacent": count - 1}.get(step.pairing, count * (count - 1) // 2)


def _longest(asked: tuple[Prompt, ...], characters_per_token: float) -> int:
    """Tokens of the longest prompt, about."""
    return max(round(sum(len(m.content) for m in prompt.messages) / characters_per_token) + 16 for prompt in asked)


def show_trainings(found: dict[str, Any]) -> None:
    """What the trainings would take, on the terminal."""
    from rich.table import Table

    from api.terminal import print_table, write

    for step, server in found.get("rollouts", {}).items():
        write(f"Completions of {step} are written by {server}; they count towards no budget")
    if "trainings_unknown" in found:
        write(f"Not estimated: trainings; {found['trainings_unknown']}")
    plans = found.get("trainings", [])
    if not plans:
        return
    table = Table("training", "optimiser steps", "tokens", "memory (MiB)", "seconds")
    for plan in plans:
        seconds = "unknown" if plan["seconds"] is None else f"{plan['seconds']:,.0f}"
        table.add_row(plan["step"], f"{plan['steps']:,}", f"{plan['tokens']:,}", f"{plan['memory_mib']:,}", seconds)
    print_table(table)
    write(
        "At most: every pair usable, completions as long as they may be. Seconds: those of a measured step, by tokens."
    )
    for plan in plans:
        if plan["seconds"] is None:
            write(f"Time of {plan['step']}: {plan['why_no_time']}")

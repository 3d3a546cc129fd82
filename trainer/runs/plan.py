"""A child of type `plan`: trainings that are not begun in, what each would take out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from solon.errors import InvalidInput
from trainer import plan
from trainer.config.plan import PlanConfig, PlannedTraining
from trainer.runs.records import Emit
from trainer.trl_run import trl_arguments


def run(config: PlanConfig, emit: Emit) -> None:
    """Check TRL's arguments, and tell the plans."""
    for training in config.trainings:
        _check_arguments(training)
    size = plan.Size.of(config.model)
    offline = [training for training in config.trainings if training.kind not in ("ppo", "grpo", "rloo")]
    each = plan.measured_seconds_per_token(config.model, size, max(t.tokens for t in offline)) if offline else None
    plans = [plan.plan(training, size, each).as_dict() for training in config.trainings]
    emit("done", parameters=size.parameters, seconds_per_token=each, plans=plans)


def _check_arguments(training: PlannedTraining) -> None:
    """Raise InvalidInput, naming the step and the argument, where the `trl` block has a wrong one."""
    block: dict[str, Any] = getattr(training.method, "trl", {})
    if not block:
        return
    kind = _trl_class(training.kind)
    settings: Any = SimpleNamespace(**training.method.model_dump(), seed=0, state=None, save_every=1)
    try:
        trl_arguments(kind, settings, Path("nowhere"))
    except InvalidInput as error:
        place = f"{training.name}.{error.field}"
        raise InvalidInput(f"{place}: {error.message}", field=place, remedy=error.remedy) from error


def _trl_class(kind: str) -> Any:
    import trl

    names = {"sft": "SFT", "reward": "Reward", "dpo": "DPO", "kto": "KTO", "grpo": "GRPO", "rloo": "RLOO"}
    return getattr(trl, f"{names[kind]}Config")

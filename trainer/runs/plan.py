"""A child of type `plan`: trainings that are not begun in, what each would take out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from solon.errors import InvalidInput
from trainer import plan
from trainer.config.plan import PlanConfig, PlannedTraining
from trainer.hardware import device
from trainer.launch import require_deepspeed
from trainer.runs.records import Emit, require_trackers
from trainer.trl_run import trl_arguments


def run(config: PlanConfig, emit: Emit) -> None:
    """Check what can be checked before anything is trained, and tell the plans."""
    for training in config.trainings:
        _check(training)
    if not config.measure:
        emit("done")
        return
    size = plan.Size.of(config.model)
    offline = [training for training in config.trainings if training.kind not in ("ppo", "grpo", "rloo")]
    each = plan.measured_seconds_per_token(config.model, size, max(t.tokens for t in offline)) if offline else None
    plans = [plan.plan(training, size, each).as_dict() for training in config.trainings]
    emit("done", parameters=size.parameters, seconds_per_token=each, plans=plans)


def _check(training: PlannedTraining) -> None:
    """Raise InvalidInput, naming the step and the field, where the training could not run on this machine."""
    try:
        _check_arguments(training)
        require_trackers(training.method.report_to)
        _check_sharding(training.method.sharding)
    except InvalidInput as error:
        place = f"{training.name}.{error.field}"
        raise InvalidInput(error.message, field=place, remedy=error.remedy) from error


def _check_arguments(training: PlannedTraining) -> None:
    """Raise InvalidInput, naming the argument, where the `trl` block has a wrong one."""
    block: dict[str, Any] = getattr(training.method, "trl", {})
    if block:
        settings: Any = SimpleNamespace(**training.method.model_dump(), seed=0, state=None, save_every=1)
        trl_arguments(_trl_class(training.kind), settings, Path("nowhere"))


def _check_sharding(sharding: str) -> None:
    """Raise InvalidInput where this machine cannot share weights out so."""
    if sharding == "none":
        return
    if device().type == "cpu":
        what = "weights are shared out on accelerators only, and this machine has none"
        raise InvalidInput(what, field="sharding", remedy="take `sharding: none`")
    require_deepspeed(sharding)


def _trl_class(kind: str) -> Any:
    import trl

    names = {"sft": "SFT", "reward": "Reward", "dpo": "DPO", "kto": "KTO", "grpo": "GRPO", "rloo": "RLOO"}
    return getattr(trl, f"{names[kind]}Config")

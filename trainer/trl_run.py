"""What all methods that TRL runs share: arguments, progress, going on after a stop."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast, get_type_hints

import torch
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, TrainerControl, TrainerState

from solon.errors import InvalidInput, TrainingFailed
from trainer import processes
from trainer.config.child import Precision
from trainer.hardware import device, takes_bfloat16
from trainer.progress import Progress

Arguments = TypeVar("Arguments")


class Method(Protocol):
    """The settings that TRL's methods share."""

    @property
    def learning_rate(self) -> float:
        """Peak."""
        ...

    @property
    def epochs(self) -> float:
        """Passes over the data."""
        ...

    @property
    def precision(self) -> Precision:
        """What the network computes in."""
        ...

    @property
    def warmup(self) -> float:
        """Share of the steps."""
        ...

    @property
    def seed(self) -> int:
        """Of the order and of fresh weights."""
        ...

    @property
    def state(self) -> Path | None:
        """Directory of the checkpoints."""
        ...

    @property
    def save_every(self) -> int:
        """Steps between two checkpoints."""
        ...

    @property
    def sharding(self) -> str:
        """Of weights over processes."""
        ...

    @property
    def trl(self) -> dict[str, Any]:
        """Passed through."""
        ...


def trl_arguments(kind: type[Arguments], config: Method, scratch: Path, **ours: Any) -> Arguments:
    """TRL's arguments for our configuration on this machine; InvalidInput where the `trl` block has a wrong one.

    Args:
        kind: TRL's class of arguments.
        scratch: where TRL may write; checkpoints go to the configuration's `state`.
        ours: what the method decides beyond what all share.
    """
    if unknown := config.trl.keys() - {field.name for field in fields(cast(Any, kind))}:
        raise InvalidInput(f"no argument of trl.{kind.__name__}", field=f"trl.{min(unknown)}", remedy="remove it")
    theirs = {name: _typed(kind, name, value) for name, value in config.trl.items()}
    if theirs.get("eval_strategy", "no") != "no":
        what = "a training has no evaluation set that TRL could use"
        raise InvalidInput(what, field="trl.eval_strategy", remedy="remove it; a step `evaluate` measures the model")
    shared: dict[str, Any] = {
        "output_dir": str(config.state or scratch),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.epochs,
        "warmup_steps": config.warmup,
        "seed": config.seed,
        "bf16": takes_bfloat16(config.precision),
        "use_cpu": device().type == "cpu",
        "activation_checkpointing": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": device().type == "cuda",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no" if config.state is None else "steps",
        "save_steps": config.save_every,
        "save_total_limit": 1,
        "report_to": "none",
    }
    if hasattr(config, "batch_size"):
        each = math.ceil(cast(Any, config).batch_size / processes.count())
        shared |= {"per_device_train_batch_size": each, "max_length": None}
    try:
        return kind(**(shared | ours | theirs))
    except (TypeError, ValueError) as error:
        remedy = f"see the documentation of trl.{kind.__name__}"
        raise InvalidInput(str(error).splitlines()[0], field="trl", remedy=remedy) from error


def _typed(kind: type[Any], name: str, value: Any) -> Any:
    """The value as TRL's annotation has it; InvalidInput where it is of another type, unchanged where none can tell."""
    try:
        wanted: TypeAdapter[Any] = TypeAdapter(get_type_hints(kind)[name])
    except (NameError, TypeError, PydanticUserError):  # a name that is not imported, a class that pydantic cannot check
        return value
    try:
        return wanted.validate_python(value)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        remedy = f"see the documentation of trl.{kind.__name__}"
        raise InvalidInput(f"{value!r} is of a wrong type: {reason}", field=f"trl.{name}", remedy=remedy) from error


def run_trainer(trainer: Trainer, config: Method) -> Any:
    """The network, trained to the end from the last checkpoint in `state` where there is one: plain, or peft's wrapper.

    InvalidInput where the weights are not shared out as was asked; TrainingFailed when they diverge.
    """
    _require_sharding(trainer, config.sharding)
    state = config.state
    _spare_a_step_at_rate_0(trainer)
    last = last_whole(state) if state is not None else None
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    network = _whole(trainer) if config.sharding != "none" else trainer.accelerator.unwrap_model(trainer.model)
    if not all(torch.isfinite(parameter).all() for parameter in network.parameters()):
        raise TrainingFailed("the weights are no longer finite", remedy="lower learning_rate")
    return network


def _spare_a_step_at_rate_0(trainer: Trainer) -> None:
    """No warm-up where it would be a single step: transformers' schedules begin at 0, so it would only be lost, and a
    training of one step would learn nothing."""
    patched, create = cast(Any, trainer), trainer.create_scheduler

    def created(num_training_steps: int, *arguments: Any, **options: Any) -> Any:
        if trainer.args.get_warmup_steps(num_training_steps) == 1:
            trainer.args.warmup_steps = 0
        return create(num_training_steps, *arguments, **options)

    patched.create_scheduler = created


def last_whole(state: Path) -> Path | None:
    """The newest checkpoint in `state` that was written to its end; None where there is none.

    A training that dies while it saves leaves a folder that is not whole: weights and optimiser come first, the
    trainer's own state last. The checkpoint before it is still there then.
    """
    found = {int(path.name.rpartition("-")[2]): path for path in state.glob("checkpoint-*") if path.is_dir()}
    return next((found[step] for step in sorted(found, reverse=True) if _is_whole(found[step])), None)


def _is_whole(checkpoint: Path) -> bool:
    """Whether the first process wrote all of it, and every other one its random state."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, ValueError):
        return False
    random_states = list(checkpoint.glob("rng_state_*.pth"))
    return not random_states or len(random_states) >= processes.count()


def _require_sharding(trainer: Trainer, asked: str) -> None:
    """accelerate falls back to whole copies in silence, such as for FSDP2 on a CPU."""
    accelerator: Any = trainer.accelerator
    kind = str(accelerator.distributed_type).rpartition(".")[2]
    got = "none"
    if kind == "FSDP":
        got = "fsdp2" if accelerator.is_fsdp2 else "fsdp1"
    elif kind == "DEEPSPEED":
        got = f"zero{accelerator.deepspeed_plugin.zero_stage}"
    if got != asked:
        raise InvalidInput(
            f"weights were to be shared out by {asked} and are by {got} ({kind}, on {accelerator.device.type})",
            field="sharding",
            remedy="share weights out on accelerators only, and start it with `python -m trainer.run`",
        )


def _whole(trainer: Trainer) -> Any:
    """The network with all its weights, put together from all processes."""
    weights = cast(Any, trainer.accelerator).get_state_dict(trainer.model_wrapped)
    network = cast(Any, trainer.accelerator.unwrap_model(trainer.model))
    whole = type(network)(network.config)
    if processes.is_first():
        whole.load_state_dict(weights)
    return whole


def report_to(trainer: Trainer, progress: Progress, renamed: Mapping[str, str]) -> None:
    """Have the trainer tell its steps to `progress`, under our names, and print nothing."""
    trainer.add_callback(_Report(progress, renamed))
    trainer.remove_callback(PrinterCallback)


class _Report(TrainerCallback):
    """Passes each step's metrics on, under our names, and stops the run when one is not finite."""

    def __init__(self, progress: Progress, renamed: Mapping[str, str]) -> None:
        self._progress, self._renamed = progress, renamed

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The steps that were done before a stop, once more."""
        for logs in state.log_history:
            self._pass_on(int(logs["step"]), state.max_steps, logs)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """One call of `progress`; the summary that closes a run carries no loss of a step and is left out."""
        if logs and state.is_world_process_zero:
            self._pass_on(state.global_step, state.max_steps, logs)

    def _pass_on(self, step: int, max_steps: int, logs: Mapping[str, Any]) -> None:
        if "loss" not in logs:
            return
        metrics = {ours: float(logs[theirs]) for theirs, ours in self._renamed.items() if logs.get(theirs) is not None}
        if not all(math.isfinite(value) for value in metrics.values()):
            raise TrainingFailed(f"training diverged at step {step}", remedy="lower learning_rate")
        self._progress(step, max_steps, metrics)

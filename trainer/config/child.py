"""What the configurations of all training children share."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_OWNED_BY_SOLON = frozenset(
    {
        "bf16", "data_seed", "disable_tqdm", "fp16", "logging_nan_inf_filter", "learning_rate", "logging_steps",
        "max_length", "max_steps", "num_train_epochs", "output_dir", "per_device_train_batch_size",
        "remove_unused_columns", "report_to", "resume_from_checkpoint", "save_steps", "save_strategy",
        "save_total_limit", "seed", "train_sampling_strategy", "use_cpu", "warmup_steps",
    }
)  # fmt: skip
"""Arguments of TRL's trainers that follow from our own fields or that our subclasses depend on."""

Precision = Literal["auto", "float32", "bfloat16"]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
AnyPath = Annotated[Path, Field(strict=False)]


class Strict(BaseModel):
    """Frozen, strict, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Child(Strict):
    """What any training child needs to know."""

    output: AnyPath
    """Directory to create; it appears complete or not at all, and must not exist yet."""
    threads: Count | None = None
    """CPU threads for torch; None leaves one per physical core."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides the order of the data, fresh weights, what is sampled and, in the control, the coins."""


class Resumable(Child):
    """A training that can go on where it was stopped."""

    state: AnyPath | None = None
    """Directory for checkpoints, gone when the training is done; a child of the same configuration goes on from the
    last one in it. None keeps none."""
    save_every: Count = 50
    """Steps between two checkpoints, where `state` is given."""


class Training(Strict):
    """How any training runs, whatever its method."""

    processes: Count = 1
    """Processes that share each batch, on this machine; each has a part of the rows, and one the whole gradient."""
    sharding: Literal["none", "fsdp2", "zero2", "zero3"] = "none"
    """What processes keep of weights, gradients and optimiser states: everything each, or parts of them (on
    accelerators; see `trainer/sharding/`)."""
    precision: Precision = "auto"
    """What the networks compute in; weights and optimiser states are kept in float32. `auto` is bfloat16 where the
    hardware multiplies it natively."""
    report_to: list[Literal["tensorboard", "trackio", "wandb"]] = Field(default_factory=list)
    """Trackers that hear of each step, besides metrics.jsonl."""

    @model_validator(mode="after")
    def shards_need_processes(self) -> Self:
        """The settings, if what is to be shared has someone to share it with."""
        if self.sharding != "none" and self.processes == 1:
            raise ValueError(f"`sharding: {self.sharding}` needs `processes` above 1")
        if self.sharding != "none" and getattr(self, "lora", None) is not None:
            raise ValueError("adapters are small enough for every process: take `sharding: none` with `lora`")
        return self


def without_our_keys(block: dict[str, Any], *more: str) -> dict[str, Any]:
    """`block`, if it names no argument that a field of ours (or one of `more`) decides; else ValueError."""
    if ours := sorted((_OWNED_BY_SOLON | set(more)) & block.keys()):
        raise ValueError(f"{', '.join(ours)}: set by Solon, not through `trl`")
    return block

"""Group-relative policy optimisation and REINFORCE leave-one-out: their configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.config.child import AnyPath, Count, NotNegative, Positive, Resumable, Share, Training, without_our_keys
from trainer.config.lora import LoRA
from trainer.config.monitor import MonitorConfig, require_whole_weights
from trainer.config.sources import RewardSource

_OURS = (
    "num_generations", "generation_batch_size", "steps_per_generation", "num_iterations", "max_completion_length",
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "reward_weights", "beta", "epsilon",
    "scale_rewards", "loss_type", "gradient_accumulation_steps", "max_grad_norm", "normalize_advantages",
    "sync_ref_model", "shuffle_dataset", "use_transformers_continuous_batching",
)  # fmt: skip


class GroupMethod(Training):
    """What methods share that compare several completions of one prompt with each other and need no critic."""

    steps: Count = 50
    """Rounds of sampling and training."""
    prompts_per_step: Count = 16
    """Prompts asked in a round."""
    completions: Annotated[int, Field(ge=2)] = 4
    """Completions of each prompt, compared with each other."""
    epochs: Count = 1
    """Passes over a round's completions."""
    minibatch: Count = 32
    """Completions per optimiser step, over all processes; whole groups."""
    micro_batch: Count | None = None
    """Completions per forward pass and process; gradients accumulate up to a minibatch. None: all at once."""
    learning_rate: Positive = 1e-4
    """Peak of a linear schedule that ends at 0. The default suits a model of a few million parameters; large ones want
    about 1e-6."""
    warmup: Share = 0.05
    """Share of the optimiser steps over which the learning rate rises."""
    max_grad_norm: Positive = 1.0
    beta: NotNegative = 0.05
    """Price of one nat of distance from the reference. 0 keeps no reference, and no distance is reported."""
    clip: Positive = 0.2
    """How far a probability ratio may leave 1 before its gradient stops."""
    missing_eos_penalty: NotNegative = 1.0
    """Taken off the reward of a completion that ran into `max_tokens`; a reward model alone cannot see the cut."""
    max_failed: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    """Share of a round's completions that may lack a reward, because a source failed, before the run fails; they are
    left out of their group."""
    temperature: Positive = 1.0
    """At which completions are sampled, and all probabilities are computed."""
    max_tokens: Count = 160
    """Of one completion."""
    max_length: Count = 1024
    """Tokens of prompt and completion together; a prompt without room for `max_tokens` is dropped and counted."""
    lora: LoRA | None = None
    """None trains all weights."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of TRL's trainer, passed through, such as `{use_vllm: true, vllm_mode: colocate}` on a GPU; a
    key that Solon sets itself is refused."""

    @field_validator("trl")
    @classmethod
    def leave_our_keys_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value`, if it names nothing that a field of ours decides."""
        return without_our_keys(value, *_OURS)

    @property
    def generation_batch(self) -> int:
        """Completions per round."""
        return self.prompts_per_step * self.completions

    @model_validator(mode="after")
    def parts_fit(self) -> Self:
        """The settings, if a round divides into minibatches, and these into whole groups for each process."""
        if self.generation_batch % self.minibatch:
            raise ValueError("`minibatch` must divide `prompts_per_step` times `completions`")
        if self.minibatch % (self.completions * self.processes):
            raise ValueError("`minibatch` must hold whole groups: a multiple of `completions` times `processes`")
        own = self.minibatch // self.processes
        if self.micro_batch is not None and own % self.micro_batch:
            raise ValueError("`micro_batch` must divide a process's part of `minibatch`")
        return self


class GRPOMethod(GroupMethod):
    """Group-relative policy optimisation (arXiv:2402.03300), whose baseline is the mean reward of a group: settings."""

    scale_rewards: Literal["none", "group", "batch"] = "none"
    """What advantages are divided by: nothing, or the standard deviation within the group or the batch. Scaling by the
    group's blows noise up once rewards saturate, and let runs over-optimise."""
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    """How token losses are averaged: over all tokens of a minibatch (`dapo`), of each forward pass (`bnpo`), per
    sequence first (`grpo`), or by a constant length (`dr_grpo`)."""


class RLOOMethod(GroupMethod):
    """REINFORCE (arXiv:2402.14740), whose baseline is the mean reward of the others in a group: settings."""

    normalize_advantages: bool = False
    """Give the advantages of a round mean 0 and variance 1."""


class _Online(GroupMethod, Resumable):
    model: AnyPath
    """Hugging Face directory of the policy; it is also the reference."""
    prompts: AnyPath
    """JSONL of `solon.records.Prompt`."""
    rewards: Annotated[list[RewardSource], Field(min_length=1)]
    """Terms of the reward; a term that does not apply to a completion is left out of its sum."""
    monitor: MonitorConfig | None = None
    """None watches nothing."""
    save_every: Count = 5
    """Rounds between two checkpoints, where `state` is given."""

    @model_validator(mode="after")
    def names_differ(self) -> Self:
        """The configuration, if each term can be told from the others."""
        names = [source.name for source in self.rewards]
        if len(set(names)) < len(names) or "missing_eos" in names:
            raise ValueError("each reward needs a `name` of its own, and none `missing_eos`")
        return self

    @model_validator(mode="after")
    def the_monitor_sees_all_weights(self) -> Self:
        """The configuration, if a monitor finds whole weights to sample from."""
        require_whole_weights(self.monitor, self.sharding)
        return self


class GRPOConfig(GRPOMethod, _Online):
    """One GRPO training: the method, what it is applied to, and where the model goes."""

    type: Literal["grpo"]


class RLOOConfig(RLOOMethod, _Online):
    """One RLOO training: the method, what it is applied to, and where the model goes."""

    type: Literal["rloo"]

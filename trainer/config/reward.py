"""Reward models: their configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.config.child import AnyPath, Count, NotNegative, Positive, Resumable, Share, Training, without_our_keys


class RewardMethod(Training):
    """A Bradley-Terry reward model under soft labels: its settings.

    The loss of a pair is -p ln s(D) - (1 - p) ln s(-D), D = r_a - r_b: at its optimum a difference of rewards is the
    log-odds of the label. All pairs of a prompt are in one batch and each completion is read once (InstructGPT,
    arXiv:2203.02155).
    """

    learning_rate: Positive = 1e-4
    """Peak of a linear schedule that ends at 0. The default suits a model of a few million parameters; large ones want
    about 1e-5."""
    epochs: Positive = 1.0
    """Passes over the prompts; may be a fraction. Reward models overfit soon: more than one wants a look at `held_out`.
    """
    batch_size: Count = 8
    """Prompts per step, each with all its pairs."""
    max_length: Count = 512
    """Tokens of prompt and completion together; a longer pair is dropped and counted, never cut."""
    soft_labels: bool = True
    """Train on the judge's probability, ties included. False takes every `ok` pair as certain and leaves ties out."""
    margin: NotNegative = 0.0
    """Times the pair's margin in [0, 1]: by how much the chosen reward shall lead (Llama-2, arXiv:2307.09288). Only
    with hard labels: a soft label says already how large the difference shall be."""
    centering: NotNegative = 0.01
    """Weight of (r_a + r_b)^2, which keeps rewards near 0 (arXiv:2312.09244)."""
    members: Annotated[int, Field(ge=1, le=16)] = 1
    """Models in the ensemble; each has its own order of the data and its own fresh head."""
    held_out: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of the prompts, by a digest of the prompt, that are not trained on but measure accuracy and calibration."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Further `trl.RewardConfig` arguments, passed through; a key that Solon sets itself is refused."""

    @field_validator("trl")
    @classmethod
    def leave_our_keys_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value`, if it names nothing that a field of ours decides."""
        return without_our_keys(value, "center_rewards_coefficient", "activation_offloading")

    @model_validator(mode="after")
    def margins_need_hard_labels(self) -> Self:
        """The settings, if they do not combine a margin with soft labels."""
        if self.margin and self.soft_labels:
            raise ValueError("`margin` needs `soft_labels: false`")
        return self


class RewardConfig(RewardMethod, Resumable):
    """One training of a reward model or an ensemble: the method, what it is applied to, and where it goes."""

    type: Literal["reward"]
    model: AnyPath
    """Hugging Face directory of the causal language model that the reward model begins as."""
    pairs: AnyPath
    """Labelled pairs, JSONL or Parquet as written by `solon.datasets`."""
    held_out_pairs: AnyPath | None = None
    """Pairs to measure on instead of the `held_out` share; those of a prompt that is trained on are left out."""

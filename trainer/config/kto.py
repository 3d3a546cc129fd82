"""Kahneman-Tversky optimisation: its configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.config.child import AnyPath, Count, Positive, Resumable, Share, Training, without_our_keys
from trainer.config.lora import LoRA


class KTOMethod(Training):
    """Kahneman-Tversky optimisation (arXiv:2402.01306), which learns from verdicts on single completions: settings."""

    beta: Positive = 0.1
    """Per nat. Larger keeps the policy closer to the reference."""
    learning_rate: Positive = 5e-5
    """Peak of a linear schedule that ends at 0. The default suits a model of a few million parameters; large ones want
    about 1e-6."""
    epochs: Positive = 2.0
    """Passes over the completions; may be a fraction."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Completions per step, over all processes. The KL from the reference is estimated on a batch, so a small one is
    noisy."""
    max_length: Count = 512
    """Tokens of prompt and completion together; a longer completion is dropped and counted, never cut."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`apo_zero_unpaired` (arXiv:2408.06266) has no KL term."""
    soft_labels: bool = True
    """Weigh the completions of a pair by how clear its label is, 2 p - 1. False weighs all alike."""
    min_probability: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.5
    """Pairs whose label is at most as sure as this make no verdicts; 0.5 leaves out ties only."""
    balance: Annotated[float, Field(ge=1.0, le=4 / 3)] = 1.0
    """What good completions weigh in all, against bad ones: between 1:1 and 4:3, as the paper has it."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    lora: LoRA | None = None
    """None trains all weights."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Further `trl.KTOConfig` arguments, passed through; a key that Solon sets itself is refused."""

    @field_validator("trl")
    @classmethod
    def leave_our_keys_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value`, if it names nothing that a field of ours decides."""
        return without_our_keys(
            value, "beta", "loss_type", "desirable_weight", "undesirable_weight", "precompute_ref_log_probs",
            "sync_ref_model",
        )  # fmt: skip


class KTOConfig(KTOMethod, Resumable):
    """One KTO training: the method, what it is applied to, and where the model goes."""

    type: Literal["kto"]
    model: AnyPath
    """Hugging Face directory of the policy; it is also the reference."""
    pairs: AnyPath | None = None
    """Labelled pairs, JSONL or Parquet as written by `solon.datasets`: each is a good completion and a bad one."""
    votes: AnyPath | None = None
    """JSONL of `trainer.votes.Vote`: single completions, good or bad."""
    references: AnyPath | None = None
    """Directory for the reference's log-probabilities, by digest of weights, tokenizer and completions. None keeps
    none."""

    @model_validator(mode="after")
    def something_to_learn_from(self) -> Self:
        """The configuration, if it names pairs or votes."""
        if self.pairs is None and self.votes is None:
            raise ValueError("`pairs` or `votes` is needed")
        return self

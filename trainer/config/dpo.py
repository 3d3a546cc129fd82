"""Direct preference optimisation: its configuration."""

from typing import Any, Literal

from pydantic import Field, field_validator

from trainer.config.child import AnyPath, Count, NotNegative, Positive, Resumable, Share, Strict, without_our_keys


class DPOMethod(Strict):
    """Direct preference optimisation with soft labels, Rafailov et al. 2023 (arXiv:2305.18290): its settings."""

    beta: Positive = 0.1
    """Per nat. Larger keeps the policy closer to the reference."""
    learning_rate: Positive = 5e-5
    """Peak of a linear schedule that ends at 0. The default suits a model of a few million parameters; large ones want
    about 5e-7."""
    epochs: Positive = 2.0
    """Passes over the pairs; may be a fraction."""
    batch_size: Count = 16
    """Pairs per step."""
    max_length: Count = 512
    """Tokens of prompt and completion together; a longer pair is dropped and counted, never cut."""
    loss_type: Literal["sigmoid"] = "sigmoid"
    """-p ln s(h) - (1 - p) ln s(-h), where h is the implicit reward margin and p the label."""
    soft_labels: bool = True
    """Train on the judge's probability, ties included. False takes every `ok` pair as certain and leaves ties out."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    sft_weight: NotNegative = 0.0
    """Weight of the chosen completion's negative log-likelihood, per token (the RPO term, arXiv:2404.19733); keeps
    chosen completions likely."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Further `trl.DPOConfig` arguments, passed through; a key that Solon sets itself is refused."""

    @field_validator("trl")
    @classmethod
    def leave_our_keys_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value`, if it names nothing that a field of ours decides."""
        return without_our_keys(value, "beta", "loss_type", "loss_weights", "precompute_ref_log_probs")


class DPOConfig(DPOMethod, Resumable):
    """One DPO training: the method, what it is applied to, and where the model goes."""

    type: Literal["dpo"]
    model: AnyPath
    """Hugging Face directory of the policy; it is also the reference."""
    pairs: AnyPath
    """Labelled pairs, JSONL or Parquet as written by `solon.datasets`."""
    shuffle_labels: bool = False
    """The control: a seeded coin per pair decides whether chosen and rejected change places."""

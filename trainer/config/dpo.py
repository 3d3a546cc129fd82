"""Direct preference optimisation and its relatives: their configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.config.child import AnyPath, Count, NotNegative, Positive, Resumable, Share, Training, without_our_keys
from trainer.config.lora import LoRA

SOFT_LOSSES = ("sigmoid", "ipo", "robust", "hinge")
"""Losses that take a probability per pair; the others know a winner and a loser only."""

Loss = Literal[
    "sigmoid", "ipo", "robust", "hinge", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sigmoid_norm",
]  # fmt: skip

_SMOOTHED = ("sigmoid", "robust", "exo_pair", "aot", "aot_unpaired")


class DPOMethod(Training):
    """Direct preference optimisation with soft labels, Rafailov et al. 2023 (arXiv:2305.18290), and its relatives."""

    beta: Positive = 0.1
    """Per nat. Larger keeps the policy closer to the reference. IPO's tau."""
    learning_rate: Positive = 5e-5
    """Peak of a linear schedule that ends at 0. The default suits a model of a few million parameters; large ones want
    about 5e-7."""
    epochs: Positive = 2.0
    """Passes over the pairs; may be a fraction."""
    batch_size: Count = 16
    """Pairs per step, over all processes."""
    max_length: Count = 512
    """Tokens of prompt and completion together; a longer pair is dropped and counted, never cut."""
    loss_type: Loss = "sigmoid"
    """With h the implicit reward margin and p the label, the loss is p l(h) + (1 - p) l(-h): `sigmoid` l(h) = -ln s(h);
    `ipo` (d - 1 / (2 beta))^2 of the margin d per token, without beta (arXiv:2310.12036); `robust` corrects for labels
    that are flipped (arXiv:2403.00409); `hinge` max(0, 1 - h). The others are TRL's own and take hard labels only."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share of labels taken to be flipped: `sigmoid` moves p towards 0.5 by it (cDPO); `robust` subtracts what flipped
    labels add; `exo_pair` needs it; also `aot`, `aot_unpaired`."""
    soft_labels: bool = True
    """Train on the judge's probability, ties included. False takes every `ok` pair as certain and leaves ties out."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    sft_weight: NotNegative = 0.0
    """Weight of the chosen completion's negative log-likelihood, per token (the RPO term, arXiv:2404.19733); keeps
    chosen completions likely."""
    lora: LoRA | None = None
    """None trains all weights."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Further `trl.DPOConfig` arguments, passed through; a key that Solon sets itself is refused."""

    @field_validator("trl")
    @classmethod
    def leave_our_keys_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value`, if it names nothing that a field of ours decides."""
        return without_our_keys(
            value, "beta", "loss_type", "loss_weights", "precompute_ref_log_probs", "label_smoothing", "ld_alpha",
            "sync_ref_model", "use_weighting", "f_divergence_type",
        )  # fmt: skip

    @model_validator(mode="after")
    def labels_fit_the_loss(self) -> Self:
        """The settings, if the loss can take the labels and the smoothing."""
        if self.soft_labels and self.loss_type not in SOFT_LOSSES:
            raise ValueError(
                f"`loss_type: {self.loss_type}` knows a winner and a loser only: set `soft_labels: false`, or take one "
                f"of {', '.join(SOFT_LOSSES)}"
            )
        if self.label_smoothing and self.loss_type not in _SMOOTHED:
            raise ValueError(f"`label_smoothing` says nothing to `loss_type: {self.loss_type}`")
        if self.loss_type in ("aot", "aot_unpaired") and self.processes > 1:
            raise ValueError(f"`loss_type: {self.loss_type}` sorts a whole batch: take `processes: 1`")
        if self.loss_type == "exo_pair" and not self.label_smoothing:
            raise ValueError("`loss_type: exo_pair` needs a `label_smoothing` above 0, such as 0.001")
        return self


class DPOConfig(DPOMethod, Resumable):
    """One DPO training: the method, what it is applied to, and where the model goes."""

    type: Literal["dpo"]
    model: AnyPath
    """Hugging Face directory of the policy."""
    reference: AnyPath | None = None
    """Hugging Face directory of the reference, which shares the tokenizer; None: the policy as it begins."""
    pairs: AnyPath
    """Labelled pairs, JSONL or Parquet as written by `solon.datasets`."""
    shuffle_labels: bool = False
    """The control: a seeded coin per pair decides whether chosen and rejected change places."""
    references: AnyPath | None = None
    """Directory for the reference's log-probabilities, by digest of weights, tokenizer and pairs: a later training that
    shares them reads them. None keeps none."""

"""Supervised fine-tuning: its configuration."""

from typing import Any, Literal

from pydantic import Field, field_validator

from trainer.config.child import AnyPath, Count, Positive, Resumable, Share, Training, without_our_keys
from trainer.config.lora import LoRA


class SFTMethod(Training):
    """Supervised fine-tuning on revisions, the first phase of Constitutional AI (arXiv:2212.08073): its settings."""

    learning_rate: Positive = 1e-4
    """Peak of a linear schedule that ends at 0. The default suits a model of a few million parameters; large ones want
    about 1e-5."""
    epochs: Positive = 1.0
    """Passes over the rows; may be a fraction."""
    batch_size: Count = 16
    """Rows per step."""
    max_length: Count = 512
    """Tokens of prompt and completion together; a longer row is dropped and counted, never cut."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    lora: LoRA | None = None
    """None trains all weights."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Further `trl.SFTConfig` arguments, passed through; a key that Solon sets itself is refused."""

    @field_validator("trl")
    @classmethod
    def leave_our_keys_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value`, if it names nothing that a field of ours decides."""
        return without_our_keys(value, "completion_only_loss", "assistant_only_loss", "packing", "padding_free")


class SFTConfig(SFTMethod, Resumable):
    """One supervised training: the method, what it is applied to, and where the model goes."""

    type: Literal["sft"]
    model: AnyPath
    """Hugging Face directory of the model to train."""
    rows: AnyPath
    """JSONL of `trainer.data.Sample`: prompt and the completion to learn. Only completions are learnt."""

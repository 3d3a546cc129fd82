"""What a training child is asked to do: one frozen class per algorithm, a union on `type`. Torch-free.

The same models are the recipe's YAML schema, the child's configuration file and its documentation. Defaults are the
vetted setting; whatever key is set is visibly the user's own.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from solon.errors import InvalidInput, NotFound

_OWNED_BY_SOLON = frozenset(
    {
        "beta", "bf16", "data_seed", "disable_tqdm", "fp16", "logging_nan_inf_filter", "learning_rate", "logging_steps",
        "loss_type", "loss_weights", "max_length", "max_steps", "num_train_epochs", "output_dir",
        "per_device_train_batch_size", "precompute_ref_log_probs", "remove_unused_columns", "report_to",
        "save_strategy", "seed", "train_sampling_strategy", "use_cpu", "warmup_steps",
    }
)  # fmt: skip
"""DPOConfig keys that follow from our own fields or that our subclass depends on."""

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Frozen, strict, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Child(Strict):
    """What any training child needs to know."""

    output: Annotated[Path, Field(strict=False)]
    """Directory to create; it appears complete or not at all, and must not exist yet."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads for torch; None leaves one per physical core."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides the order of the pairs and, in the control, the coins."""


class DPOMethod(Strict):
    """Direct preference optimisation with soft labels, Rafailov et al. 2023 (arXiv:2305.18290): its settings."""

    beta: Positive = 0.1
    """Per nat. Larger keeps the policy closer to the reference."""
    learning_rate: Positive = 5e-5
    """Peak of a linear schedule that ends at 0. The default suits a model of a few million parameters; large ones want
    about 5e-7."""
    epochs: Positive = 2.0
    """Passes over the pairs; may be a fraction."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Pairs per step."""
    max_length: Annotated[int, Field(ge=2)] = 512
    """Tokens of prompt and completion together; a longer pair is dropped and counted, never cut."""
    loss_type: Literal["sigmoid"] = "sigmoid"
    """-p ln s(h) - (1 - p) ln s(-h), where h is the implicit reward margin and p the label."""
    soft_labels: bool = True
    """Train on the judge's probability, ties included. False takes every `ok` pair as certain and leaves ties out."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises."""
    sft_weight: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """Weight of the chosen completion's negative log-likelihood, per token (the RPO term, arXiv:2404.19733); keeps
    chosen completions likely."""
    trl: dict[str, Any] = Field(default_factory=dict)
    """Further `trl.DPOConfig` arguments, passed through; a key that Solon sets itself is refused."""

    @field_validator("trl")
    @classmethod
    def leave_our_keys_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        """`value`, if it names nothing that a field of ours decides."""
        if ours := sorted(_OWNED_BY_SOLON & value.keys()):
            raise ValueError(f"{', '.join(ours)}: set by Solon, not through `trl`")
        return value


class DPOConfig(DPOMethod, Child):
    """One DPO training: the method, what it is applied to, and where the model goes."""

    type: Literal["dpo"]
    model: Annotated[Path, Field(strict=False)]
    """Hugging Face directory of the policy; it is also the reference."""
    pairs: Annotated[Path, Field(strict=False)]
    """Labelled pairs, JSONL or Parquet as written by `solon.datasets`."""
    shuffle_labels: bool = False
    """The control: a seeded coin per pair decides whether chosen and rejected change places."""


class KLConfig(Child):
    """KL(policy || reference) per sequence in nats, estimated on completions sampled from the policy."""

    type: Literal["kl"]
    policy: Annotated[Path, Field(strict=False)]
    """Hugging Face directory of the model that wrote the completions."""
    reference: Annotated[Path, Field(strict=False)]
    """Hugging Face directory of the model it is held against; must share the tokenizer."""
    samples: Annotated[Path, Field(strict=False)]
    """JSONL of `trainer.data.Sample`: prompt and sampled completion."""
    temperature: Positive = 1.0
    """At which the completions were sampled; both models are scored at it. Sampling with top-p or top-k biases the
    estimate, possibly below zero."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Sequences per forward pass."""
    max_length: Annotated[int, Field(ge=2)] = 1024
    """Tokens of prompt and completion together; a longer sample is dropped and counted."""


TrainConfig = Annotated[DPOConfig | KLConfig, Field(discriminator="type")]
"""Any configuration that `python -m trainer.run` accepts."""

_ADAPTER: TypeAdapter[DPOConfig | KLConfig] = TypeAdapter(TrainConfig)


def parse(text: str | bytes) -> DPOConfig | KLConfig:
    """The configuration in a JSON text; InvalidInput names the first wrong field."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise InvalidInput(first["msg"], field=field, remedy="see trainer/config.py for the fields") from error


def read_config(path: Path) -> DPOConfig | KLConfig:
    """The configuration in a JSON file; NotFound or InvalidInput when it cannot be had."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", field="config", remedy="check the path") from error

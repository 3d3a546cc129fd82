"""How likely completions are to models: the configuration of the measurement."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.child import AnyPath, Child, Count


class LikelihoodConfig(Child):
    """ln p(completion | prompt) in nats under each model; `likelihoods.jsonl` holds one object a line, in order."""

    type: Literal["likelihood"]
    models: Annotated[dict[str, AnyPath], Field(min_length=1)]
    """Hugging Face directories by name; they share a tokenizer."""
    samples: AnyPath
    """JSONL of `trainer.data.Sample`: prompt and completion."""
    batch_size: Count = 32
    """Sequences per forward pass."""
    max_length: Count = 1024
    """Tokens of prompt and completion together; what is longer has no likelihood."""

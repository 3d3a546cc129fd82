"""How far a policy has moved: the configuration of the measurement."""

from typing import Literal

from trainer.config.child import AnyPath, Child, Count, Positive


class KLConfig(Child):
    """KL(policy || reference) per sequence in nats, estimated on completions sampled from the policy."""

    type: Literal["kl"]
    policy: AnyPath
    """Hugging Face directory of the model that wrote the completions."""
    reference: AnyPath
    """Hugging Face directory of the model it is held against; must share the tokenizer."""
    samples: AnyPath
    """JSONL of `trainer.data.Sample`: prompt and sampled completion."""
    temperature: Positive = 1.0
    """At which the completions were sampled; both models are scored at it. Sampling with top-p or top-k biases the
    estimate, possibly below zero."""
    batch_size: Count = 32
    """Sequences per forward pass."""
    max_length: Count = 1024
    """Tokens of prompt and completion together; a longer sample is dropped and counted."""

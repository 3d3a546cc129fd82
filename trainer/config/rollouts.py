"""Where PPO's completions are written when not in the training's own process: its configuration."""

from typing import Annotated

from pydantic import Field

from trainer.config.child import AnyPath, Count, Positive, Strict


class Likeness(Strict):
    """How far a server's probabilities may be from those of the policy in training."""

    max_mismatch: Positive = 0.2
    """Nats, the mean over tokens of |ln p of the server - ln p of the policy|; beyond, the run fails. bfloat16 makes
    some of it, another model's weights make far more."""


class RolloutServer(Likeness):
    """A vLLM server of the model that the training begins with, which takes adapters while it runs."""

    model: Annotated[str, Field(min_length=1)]
    """What messages call it: in a recipe the registered name."""
    endpoint: Annotated[str, Field(pattern=r"^https?://")]
    """Base URL, ending in /v1."""
    adapter_dir: AnyPath
    """Folder for the adapters of this and other trainings, which the server sees under the same path."""
    max_concurrency: Count = 64
    """Requests at once, of each process."""
    timeout_s: Positive = 600.0
    """Longest silence of one request."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key."""
    allow_private: bool = True
    """Whether the endpoint may be on this machine or a private network."""

"""Where the reward of a sampled completion comes from: reward models and services, weighted."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.child import AnyPath, Count, NotNegative, Positive, Strict

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class RewardModelSource(Strict):
    """A reward model of Solon's, or an ensemble: its reward in standard deviations from its own mean."""

    type: Literal["reward_model"]
    path: AnyPath
    """Directory that a training of type `reward` made."""
    name: Name = "reward_model"
    """In the metrics."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    combine: Literal["mean", "worst", "uncertainty"] = "mean"
    """What an ensemble says: the mean of its members, the least, or mean - penalty * variance (arXiv:2310.02743)."""
    penalty: NotNegative = 0.1
    """Of the variance, for `uncertainty`."""


class ServiceSource(Strict):
    """A service that scores completions over HTTP: a judge, rules, a verifier. `trainer/rewards/sources.py` has the
    form of request and answer."""

    type: Literal["service"]
    url: Annotated[str, Field(pattern=r"^https?://")]
    name: Name
    """In the metrics; also what the service is asked for."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    batch_size: Count = 16
    """Completions per request."""
    max_concurrency: Count = 8
    """Requests at once."""
    timeout_s: Positive = 120.0
    """Of one request."""


class GateSource(Strict):
    """Two reward models in one term, as in Llama-2 (arXiv:2307.09288, section 3.2.3): what is unsafe is told by the
    safety model, all else by the helpfulness model."""

    type: Literal["gate"]
    helpfulness: AnyPath
    """Directory that a training of type `reward` made."""
    safety: AnyPath
    """Another."""
    name: Name = "gate"
    """In the metrics."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.15
    """Below it the safety model decides: P(safer than a completion with the mean reward)."""
    safety_domains: list[str] = Field(default_factory=lambda: ["harmful", "harmless", "red_team", "safety"])
    """Prompts of these domains (metadata `domain` or `kind`, else scope) are the safety model's whatever it says."""
    whiten: bool = True
    """Give the term mean 0 and variance 1 over the completions of a step."""
    combine: Literal["mean", "worst", "uncertainty"] = "mean"
    """What an ensemble says, as in `reward_model`."""
    penalty: NotNegative = 0.1
    """Of the variance, for `uncertainty`."""


RewardSource = Annotated[RewardModelSource | GateSource | ServiceSource, Field(discriminator="type")]
"""One term of the reward."""

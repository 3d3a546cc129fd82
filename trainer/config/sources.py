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
    """A service that scores completions over HTTP: a judge, rules, a verifier. `trainer.rewards.service` has the form
    of request and answer."""

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


RewardSource = Annotated[RewardModelSource | ServiceSource, Field(discriminator="type")]
"""One term of the reward."""

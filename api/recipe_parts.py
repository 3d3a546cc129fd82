"""What the steps of a recipe are made of: their common base, and the terms of a reward."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Frozen, strict, closed to unknown keys, documented under each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class RewardModelTerm(Part):
    """The reward model of the last `reward_model` step, in standard deviations."""

    type: Literal["reward_model"]
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    combine: Literal["mean", "worst", "uncertainty"] = "mean"
    """What an ensemble says: the mean of its members, the least, or mean - penalty * variance."""
    penalty: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.1
    """Of the variance, for `uncertainty`."""


class RulesTerm(Part):
    """The reward of the constitution's rules; the judge answers what they ask."""

    type: Literal["rules"]
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0


class JudgeTerm(Part):
    """The judge's marks under the principles (direct RLAIF); its method must be `score` or `reward_model`."""

    type: Literal["judge"]
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0


RewardTerm = Annotated[RewardModelTerm | RulesTerm | JudgeTerm, Field(discriminator="type")]
"""One term of a reward."""

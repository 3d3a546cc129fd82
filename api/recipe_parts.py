"""What the steps of a recipe are made of: their common base, and the terms of a reward."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from solon.settings import ModelName
from trainer.config import Likeness, MonitorSettings
from trainer.config.child import Training
from trainer.config.monitor import require_whole_weights


class Part(BaseModel):
    """Frozen, strict, closed to unknown keys, documented under each field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Prompts(Part):
    """What the policy is asked: `builtin:agora/train`, `builtin:agora/eval`, an uploaded file's id, or a JSONL file."""

    train: str = "builtin:agora/train"
    """To make the pairs from."""
    eval: str = "builtin:agora/eval"
    """To measure the models on; never trained on."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use at most so many training prompts; None uses all."""
    eval_limit: Annotated[int, Field(ge=1)] | None = None
    """Use at most so many evaluation prompts; None uses `limit`."""


class BudgetPart(Part):
    """The most that one run may pay; at the cap it stops, and goes on where it was when it is started again."""

    calls: Annotated[int, Field(ge=1)] | None = None
    """Completions and judgements; those that a cache has are free."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Of prompts and completions together."""
    usd: Annotated[float, Field(gt=0)] | None = None
    """At the prices of the registered models."""


RewardName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class RewardModelTerm(Part):
    """The reward model of a `reward_model` step, in standard deviations."""

    type: Literal["reward_model"]
    model: RewardName = "reward_model"
    """The step's `name`; the latest such step counts."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    combine: Literal["mean", "worst", "uncertainty"] = "mean"
    """What an ensemble says: the mean of its members, the least, or mean - penalty * variance."""
    penalty: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.1
    """Of the variance, for `uncertainty`."""


class GateTerm(Part):
    """Two reward models in one term: what is unsafe is told by the safety model, all else by the other (Llama-2)."""

    type: Literal["gate"]
    helpfulness: RewardName = "helpfulness"
    """The `name` of a `reward_model` step."""
    safety: RewardName = "safety"
    """That of another."""
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.15
    """Below it the safety model decides: P(safer than a completion with the mean reward)."""
    safety_domains: list[str] = Field(default_factory=lambda: ["harmful", "harmless", "red_team", "safety"])
    """Prompts of these domains (metadata `domain` or `kind`, else scope) are the safety model's whatever it says."""
    whiten: bool = True
    """Give the term mean 0 and variance 1 over the completions of a step."""
    combine: Literal["mean", "worst", "uncertainty"] = "mean"
    penalty: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.1


class RulesTerm(Part):
    """The reward of the constitution's rules; the judge answers what they ask."""

    type: Literal["rules"]
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0


class JudgeTerm(Part):
    """The judge's marks under the principles (direct RLAIF); its method must be `score` or `reward_model`."""

    type: Literal["judge"]
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    principles: Annotated[int, Field(ge=1)] | None = None
    """Marks under so many of the principles that apply, drawn for each prompt (all its completions meet the same ones);
    None marks under all. The paper draws one for each comparison."""


class MonitorPart(MonitorSettings):
    """What is watched while the policy is trained. Gold is the recipe's `held_out_judge`, and the oracle of the starter
    world where the prompts are of it; without either nothing can alarm."""

    prompts: str | None = None
    """What the policy is asked, as in `prompts`; null: the training prompts, so that choosing the best weights uses no
    evaluation prompt."""
    limit: Annotated[int, Field(ge=1)] = 64
    """Use at most so many of them."""


class RolloutsPart(Likeness):
    """Who writes the completions that a policy learns from: a vLLM server that is given its adapter at each step."""

    model: ModelName
    """Registered policy of engine `vllm` with `endpoint` and `adapters`, whose weights the step begins with."""


RewardTerm = Annotated[RewardModelTerm | GateTerm | RulesTerm | JudgeTerm, Field(discriminator="type")]
"""One term of a reward."""


def models_of(term: Any) -> tuple[str, ...]:
    """Names of the reward models that a term needs."""
    if isinstance(term, RewardModelTerm):
        return (term.model,)
    return (term.helpfulness, term.safety) if isinstance(term, GateTerm) else ()


def asks_critic(terms: Sequence[Any]) -> bool:
    """Whether a term asks rules or judge."""
    return any(isinstance(term, RulesTerm | JudgeTerm) for term in terms)


def require_each_once(terms: Sequence[Any]) -> None:
    """Raises ValueError where two terms say the same."""
    kinds = [(term.type, models_of(term)) for term in terms]
    if len(set(kinds)) < len(kinds):
        raise ValueError("each type of reward, and each reward model, may be there once")


def _reward_model() -> list[RewardTerm]:
    return [RewardModelTerm(type="reward_model")]


class OnRewards(Training):
    """What the steps share that train the policy on what its samples earn."""

    rewards: Annotated[list[RewardTerm], Field(min_length=1)] = Field(default_factory=_reward_model)
    """Terms of the reward, added up by their weights; each is reported alone."""
    monitor: MonitorPart | None = None
    """What is watched meanwhile, and when to stop; null watches nothing."""

    @property
    def terms(self) -> tuple[Any, ...]:
        """Of the reward, and of a cost where there is one."""
        return tuple(self.rewards)

    @property
    def asks_critic(self) -> bool:
        """Whether rules or judge are asked while it trains."""
        return asks_critic(self.terms)

    @model_validator(mode="after")
    def parts_go_together(self) -> Self:
        """The step, if its terms can be told apart and its monitor finds whole weights."""
        require_each_once(self.terms)
        require_whole_weights(self.monitor, self.sharding)
        return self

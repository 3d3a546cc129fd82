"""Steps of methods that compare completions of one prompt with each other, and of KTO, which compares nothing."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from api.recipe_parts import RewardModelTerm, RewardTerm, asks_critic, require_each_once
from trainer.config import GRPOMethod, KTOMethod, RLOOMethod
from trainer.config.groups import GroupMethod


class KTOStep(KTOMethod):
    """Kahneman-Tversky optimisation on the pairs of the last `label` step, each a good completion and a bad one."""

    type: Literal["kto"]


def _reward_model() -> list[RewardTerm]:
    return [RewardModelTerm(type="reward_model")]


class _OnRewards(GroupMethod):
    rewards: Annotated[list[RewardTerm], Field(min_length=1)] = Field(default_factory=_reward_model)
    """Terms of the reward, added up by their weights; each is reported alone."""

    @property
    def terms(self) -> tuple[Any, ...]:
        """Of the reward."""
        return tuple(self.rewards)

    @property
    def asks_critic(self) -> bool:
        """Whether rules or judge are asked while it trains."""
        return asks_critic(self.rewards)

    @model_validator(mode="after")
    def each_term_once(self) -> Self:
        """The step, if its terms can be told apart."""
        require_each_once(self.rewards)
        return self


class GRPOStep(_OnRewards, GRPOMethod):
    """Group-relative policy optimisation of the policy on the training prompts."""

    type: Literal["grpo"]


class RLOOStep(_OnRewards, RLOOMethod):
    """REINFORCE leave-one-out of the policy on the training prompts."""

    type: Literal["rloo"]

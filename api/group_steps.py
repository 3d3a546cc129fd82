"""Steps of methods that compare completions of one prompt with each other, and of KTO, which compares nothing."""

from typing import Literal

from api.recipe_parts import OnRewards
from trainer.config import GRPOMethod, KTOMethod, RLOOMethod


class KTOStep(KTOMethod):
    """Kahneman-Tversky optimisation on the pairs of the last `label` step, each a good completion and a bad one."""

    type: Literal["kto"]


class GRPOStep(OnRewards, GRPOMethod):
    """Group-relative policy optimisation of the policy on the training prompts."""

    type: Literal["grpo"]


class RLOOStep(OnRewards, RLOOMethod):
    """REINFORCE leave-one-out of the policy on the training prompts."""

    type: Literal["rloo"]

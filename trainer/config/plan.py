"""A dry run of trainings: what they would take, and whether TRL knows all arguments. Torch-free."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.child import AnyPath, Child, Count, Strict
from trainer.config.dpo import DPOMethod
from trainer.config.groups import GRPOMethod, RLOOMethod
from trainer.config.kto import KTOMethod
from trainer.config.ppo import PPOMethod
from trainer.config.reward import RewardMethod
from trainer.config.sft import SFTMethod

AnyMethod = SFTMethod | RewardMethod | DPOMethod | KTOMethod | PPOMethod | GRPOMethod | RLOOMethod


class PlannedTraining(Strict):
    """One training that is not begun."""

    name: str
    """Of the step."""
    kind: Literal["sft", "reward", "dpo", "kto", "ppo", "grpo", "rloo"]
    method: Annotated[AnyMethod, Field(union_mode="left_to_right")]
    """Its settings."""
    rows: Count
    """Pairs, completions or prompts that it would have, at most."""
    tokens: Count
    """Of prompt and completion together, at most."""


class PlanConfig(Child):
    """A dry run of trainings; nothing is written."""

    type: Literal["plan"]
    model: AnyPath
    """Hugging Face directory that they would begin as."""
    trainings: Annotated[list[PlannedTraining], Field(min_length=1)]
    measure: bool = True
    """Tell what they would take; false only checks what can be checked."""

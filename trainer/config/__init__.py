"""What a training child is asked to do: one frozen class per method, a union on `type`. Torch-free.

The same models are the recipe's YAML schema, the child's configuration file and its documentation. Defaults are the
vetted setting; whatever key is set is visibly the user's own.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from solon.errors import InvalidInput, NotFound
from trainer.config.child import Child
from trainer.config.dpo import DPOConfig, DPOMethod
from trainer.config.groups import GRPOConfig, GRPOMethod, RLOOConfig, RLOOMethod
from trainer.config.kl import KLConfig
from trainer.config.kto import KTOConfig, KTOMethod
from trainer.config.likelihood import LikelihoodConfig
from trainer.config.monitor import MonitorConfig, MonitorSettings
from trainer.config.plan import PlanConfig, PlannedTraining
from trainer.config.ppo import PPOConfig, PPOMethod
from trainer.config.reward import RewardConfig, RewardMethod
from trainer.config.rollouts import Likeness, RolloutServer
from trainer.config.score import ScoreConfig
from trainer.config.sft import SFTConfig, SFTMethod
from trainer.config.sources import GateSource, RewardModelSource, RewardSource, ServiceSource

__all__ = [
    "AnyConfig",
    "Child",
    "DPOConfig",
    "DPOMethod",
    "GRPOConfig",
    "GRPOMethod",
    "GateSource",
    "KLConfig",
    "KTOConfig",
    "KTOMethod",
    "LikelihoodConfig",
    "Likeness",
    "MonitorConfig",
    "MonitorSettings",
    "PPOConfig",
    "PPOMethod",
    "PlanConfig",
    "PlannedTraining",
    "RLOOConfig",
    "RLOOMethod",
    "RewardConfig",
    "RewardMethod",
    "RewardModelSource",
    "RewardSource",
    "RolloutServer",
    "SFTConfig",
    "SFTMethod",
    "ScoreConfig",
    "ServiceSource",
    "TrainConfig",
    "parse",
    "read_config",
]

AnyConfig = (
    SFTConfig
    | RewardConfig
    | PPOConfig
    | GRPOConfig
    | RLOOConfig
    | DPOConfig
    | KTOConfig
    | KLConfig
    | ScoreConfig
    | LikelihoodConfig
    | PlanConfig
)

TrainConfig = Annotated[AnyConfig, Field(discriminator="type")]
"""Any configuration that `python -m trainer.run` accepts."""

_ADAPTER: TypeAdapter[AnyConfig] = TypeAdapter(TrainConfig)


def parse(text: str | bytes) -> AnyConfig:
    """The configuration in a JSON text; InvalidInput names the first wrong field."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise InvalidInput(first["msg"], field=field, remedy="see trainer/config for the fields") from error


def read_config(path: Path) -> AnyConfig:
    """The configuration in a JSON file; NotFound or InvalidInput when it cannot be had."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", field="config", remedy="check the path") from error

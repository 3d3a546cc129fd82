"""What completions are worth to reward models: the configuration of a scoring."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.child import AnyPath, Child
from trainer.config.sources import RewardSource


class ScoreConfig(Child):
    """The scores of completions, by each of the rewards; `scores.jsonl` holds one object a line, in their order."""

    type: Literal["score"]
    samples: AnyPath
    """JSONL of `trainer.data.Sample`: prompt and completion."""
    rewards: Annotated[list[RewardSource], Field(min_length=1)]

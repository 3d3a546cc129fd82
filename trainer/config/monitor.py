"""Watching a training: its configuration."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.config.child import AnyPath, Count, Positive, Share, Strict
from trainer.config.sources import ServiceSource


class MonitorSettings(Strict):
    """What is looked at every few steps on a fixed set of prompts, and what follows from it."""

    every: Count = 5
    """Steps between two observations; there is one before the first step."""
    samples: Annotated[int, Field(ge=1, le=16)] = 2
    """Completions of each prompt; the correlation of length and reward needs two or more."""
    max_tokens: Count | None = None
    """Of one completion; None: as in training."""
    standard_errors: Positive = 1.0
    """The alarm goes off where the reward rises and gold falls by more than so many standard errors over two
    observations. One catches hacking soonest; more is less often wrong."""
    max_compliance_loss: Share = 0.10
    """And where so much more of the benign prompts are refused than at the beginning."""
    stop: bool = True
    """End the training at an alarm; false only tells."""
    publish: Literal["best", "last"] = "best"
    """The weights that become the model: those with the best gold, or the last. Without gold they are the last."""


class MonitorConfig(MonitorSettings):
    """The same with all that it needs."""

    prompts: AnyPath
    """JSONL of `solon.records.Prompt`: the fixed set."""
    oracle: bool = False
    """Read the completions with the oracle; the prompts are of the starter world."""
    judge: ServiceSource | None = None
    """Held-out judge: P(a completion is better than what the reference wrote)."""
    refusals: ServiceSource | None = None
    """Says 1 of a completion that refuses and 0 of others; the oracle knows by itself."""
    text: AnyPath | None = None
    """JSONL of `trainer.data.Sample`: general text that the policy shall not become worse at."""
    tasks: AnyPath | None = None
    """JSONL of `solon.records.Prompt` with `metadata.answer`, a text or a list of them, of which one must occur."""


def require_whole_weights(monitor: MonitorSettings | None, sharding: str) -> None:
    """Raises ValueError where a monitor would find no process with all weights, to sample from."""
    if monitor is not None and sharding != "none":
        raise ValueError("`monitor` needs all weights in one process: take `sharding: none`, or leave it out")

"""What a run tells while it works: events that are drawn as bars, printed as JSON lines and stored by the server."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from solon.records import Record


class Event(Record):
    """One thing that happened in a run."""

    type: Literal[
        "step_started",
        "progress",
        "checkpoint",
        "step_finished",
        "step_skipped",
        "retrying",
        "paused",
        "resumed",
        "alarm",
        "run_finished",
        "run_failed",
        "job_started",
        "job_paused",
        "job_resumed",
        "job_cancelled",
        "metrics",
        "spent",
    ]
    """`paused`: a model server cannot be reached and the run waits; `resumed`: it is back. `alarm`: a monitor
    stopped a training, or would have. `job_started`: a worker has
    it; `job_paused`, `job_resumed`, `job_cancelled`: somebody asked for it. `retrying`: a step's process was lost.
    `metrics` and `spent` are between a step's process and its worker, and not among a job's events."""
    step: str = ""
    """Name of the step, such as `01-label`; empty for the run as a whole."""
    done: int = 0
    total: int | None = None
    """None while it is unknown."""
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    detail: dict[str, Any] = Field(default_factory=dict)
    """`run_finished`: the summary of the report; `run_failed`: `remedy`, `field` and `kind` of the error."""


Emit = Callable[[Event], None]
"""Takes one event; must return at once."""

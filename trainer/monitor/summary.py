"""What a monitor says of a whole run, and how it is read back. Torch-free."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from solon.records import Record
from trainer.monitor.observations import Observation
from trainer.monitor.overoptimisation import Fit, fitted


class Alarm(Record):
    """Why and when a run was to be stopped."""

    step: int
    message: str


class Summary(Record):
    """A run, as its monitor saw it."""

    alarm: Alarm | None = None
    """The first; None where there was none."""
    published: dict[str, Any] = Field(default_factory=dict)
    """Which step's weights became the model, and why."""
    fits: dict[str, Fit] = Field(default_factory=dict)
    """Gold over sqrt(KL), by gold."""
    first: Observation
    last: Observation
    observations: int


def summary(seen: Sequence[Observation], alarm: Mapping[str, Any] | None, published: Mapping[str, Any]) -> Summary:
    """Of at least one observation."""
    return Summary(
        alarm=Alarm.model_validate(alarm) if alarm is not None else None,
        published=dict(published),
        fits={gold: fit for gold in ("judge", "oracle") if (fit := fitted(gold_points(seen, gold))) is not None},
        first=seen[0],
        last=seen[-1],
        observations=len(seen),
    )


def gold_points(seen: Sequence[Observation], gold: Any) -> list[tuple[float, float]]:
    """(distance, gold above the first observation's), for each observation that has it."""
    known = [(each.distance, each.gold[gold].value) for each in seen if gold in each.gold]
    return [(distance, value - known[0][1]) for distance, value in known]


def read_observations(model: Path) -> tuple[Observation, ...]:
    """What a monitor left in a model's directory; empty where nothing was watched."""
    path = model / "monitor.jsonl"
    if not path.is_file():
        return ()
    return tuple(Observation.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines())


def read_summary(model: Path) -> Summary | None:
    """The summary in a model's directory; None where nothing was watched."""
    path = model / "monitor.json"
    return Summary.model_validate_json(path.read_bytes()) if path.is_file() else None

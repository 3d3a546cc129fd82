"""Runs trainings one after the other in each process of a launch: `-m tests.unit.trainer.on_two_processes CONFIG...`.

Rewards that the configurations name `even` are those of this module.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.config import read_config
from trainer.rewards.mix import Item


class Even:
    """Rewards every other character."""

    name, weight = "even", 5.0

    def scores(self, items: Sequence[Item]) -> list[float | None]:
        """The share of characters with an even code."""
        return [sum(ord(c) % 2 == 0 for c in done.text) / max(1, len(done.text)) for _, done in items]


def trained(path: Path) -> list[dict[str, Any]]:
    """The events of one training, as this process would tell them."""
    from trainer import run
    from trainer.runs import groups, ppo

    sources: Any = lambda sources, _field="rewards": [Even() for _ in sources]  # noqa: E731
    groups.opened, ppo.opened = sources, sources
    events: list[dict[str, Any]] = []
    run.run(read_config(path), lambda event, **fields: events.append({"event": event, **fields}))
    return events


if __name__ == "__main__":
    for name in sys.argv[1:]:
        events = trained(Path(name))
        from trainer import processes

        if processes.is_first():
            Path(name).with_suffix(".events").write_text(json.dumps(events))

"""A child of type `score`: completions and rewards in, the score of each completion by each reward out."""

import json
import math
import time

from solon.errors import InvalidInput
from trainer.config import ScoreConfig
from trainer.data import read_samples
from trainer.publishing import published
from trainer.rewards.sources import opened
from trainer.runs.records import Emit

SCORES = "scores.jsonl"
"""One object a line: by name of the reward a number, null where it does not apply, "failed" where it could not say."""

_AT_ONCE = 512


def run(config: ScoreConfig, emit: Emit) -> None:
    """Score, and publish scores.jsonl."""
    started = time.monotonic()
    items = [(sample.prompt, sample.completion) for sample in read_samples(config.samples)]
    if not items:
        raise InvalidInput("there is nothing to score", field="samples", remedy="give at least one completion")
    sources = opened(config.rewards)
    with published(config.output) as scratch, (scratch / SCORES).open("w", encoding="utf-8") as file:
        emit("phase", name="score", samples=len(items))
        for start in range(0, len(items), _AT_ONCE):
            part = items[start : start + _AT_ONCE]
            found = {source.name: [_plain(score) for score in source.scores(part)] for source in sources}
            for place in range(len(part)):
                file.write(json.dumps({name: scores[place] for name, scores in found.items()}) + "\n")
            emit("progress", step=min(start + _AT_ONCE, len(items)), max_steps=len(items), metrics={})
    emit("done", output=str(config.output), samples=len(items), seconds=round(time.monotonic() - started, 2))


def _plain(score: float | None) -> float | str | None:
    return "failed" if score is not None and not math.isfinite(score) else score

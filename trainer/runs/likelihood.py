"""A child of type `likelihood`: completions and models in, how likely each is to each out."""

import json
import time

from solon.errors import InvalidInput
from trainer import checkpoint
from trainer.config import LikelihoodConfig
from trainer.data import Encoder, read_samples
from trainer.divergence import log_likelihoods
from trainer.publishing import published
from trainer.runs.records import Emit, within

LIKELIHOODS = "likelihoods.jsonl"
"""One object a line: by name of the model nats, null for a completion that cannot be read."""


def run(config: LikelihoodConfig, emit: Emit) -> None:
    """Measure, and publish likelihoods.jsonl."""
    started = time.monotonic()
    samples = list(read_samples(config.samples))
    if not samples:
        raise InvalidInput("there is nothing to measure", field="samples", remedy="give at least one completion")
    found: dict[str, list[float | None]] = {}
    for number, (name, path) in enumerate(config.models.items(), start=1):
        model, tokenizer = checkpoint.load(path, f"models.{name}")
        encoder = Encoder(tokenizer, within(config.max_length, model))
        encoded = [encoder.sample(sample) for sample in samples]
        places = [place for place, ids in enumerate(encoded) if not isinstance(ids, str)]
        nats = log_likelihoods(
            model, [ids for ids in encoded if not isinstance(ids, str)], batch_size=config.batch_size
        )
        found[name] = [None] * len(samples)
        for place, value in zip(places, nats, strict=True):
            found[name][place] = value
        emit("progress", step=number, max_steps=len(config.models), metrics={})
    with published(config.output) as scratch:
        lines = (json.dumps({name: values[i] for name, values in found.items()}) for i in range(len(samples)))
        (scratch / LIKELIHOODS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    emit("done", output=str(config.output), samples=len(samples), seconds=round(time.monotonic() - started, 2))

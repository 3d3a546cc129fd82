"""A child of type `kl`: a policy's samples in, its distance from a reference out."""

import time
from collections import Counter

from solon.errors import InvalidInput
from trainer import checkpoint
from trainer.config import KLConfig
from trainer.data import Encoder, read_samples
from trainer.divergence import divergence
from trainer.publishing import published
from trainer.runs.records import Emit, keep, provenance, within, write_json


def run(config: KLConfig, emit: Emit) -> None:
    """Measure, and publish divergence.json."""
    started = time.monotonic()
    drops: Counter[str] = Counter()
    rows = list(read_samples(config.samples))
    with published(config.output) as scratch:
        policy, tokenizer = checkpoint.load(config.policy, "policy")
        reference, _ = checkpoint.load(config.reference, "reference")
        if policy.config.vocab_size != reference.config.vocab_size:
            raise InvalidInput(
                "policy and reference have different vocabularies",
                field="reference",
                remedy="compare a model with its own base",
            )
        encoder = Encoder(tokenizer, within(config.max_length, policy))
        kept = keep((encoder.sample(row) for row in rows), drops)
        emit("phase", name="measure", samples=len(kept), dropped=dict(drops))
        result = divergence(
            policy,
            reference,
            kept,
            temperature=config.temperature,
            batch_size=config.batch_size,
            progress=lambda step, total: emit("progress", step=step, max_steps=total, metrics={}),
        ).as_dict()
        seconds = round(time.monotonic() - started, 2)
        facts = provenance(config, model=config.policy, data=config.samples)
        write_json(scratch / "divergence.json", {**result, "dropped": dict(drops), "provenance": facts})
    emit("done", output=str(config.output), result=result, dropped=dict(drops), seconds=seconds)

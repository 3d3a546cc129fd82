"""A child of type `sft`: completions to learn in, a model that writes like them out."""

import time
from collections import Counter

from trainer import adapters, checkpoint, sft
from trainer.config import SFTConfig
from trainer.data import Encoder, read_samples
from trainer.publishing import published
from trainer.runs.records import Emit, curve, keep, provenance, require, within, write_facts
from trainer.runs.states import kept_state


def run(config: SFTConfig, emit: Emit) -> None:
    """Train and publish the model."""
    started = time.monotonic()
    drops: Counter[str] = Counter()
    samples = list(read_samples(config.rows))
    with published(config.output) as scratch:
        model, tokenizer = checkpoint.load(config.model, "model")
        encoder = Encoder(tokenizer, within(config.max_length, model))
        encoder.require_one_bos()
        rows = keep((encoder.sample(sample) for sample in samples), drops)
        require(rows, len(samples), "rows", drops, "write completions that fit max_length")
        emit("phase", name="train", rows=len(rows), dropped=dict(drops))
        facts = provenance(config, model=config.model, data=config.rows)
        with kept_state(config.state, facts), curve(scratch / "metrics.jsonl", emit, config.report_to) as steps:
            trained = sft.train(config, model, tokenizer, rows, scratch, steps)
        adapters.publish(trained, tokenizer, config.lora, config.model, scratch)
        seconds = round(time.monotonic() - started, 2)
        facts |= {"rows": {"read": len(samples), "used": len(rows), "dropped": dict(drops)}}
        write_facts(scratch, {**facts, "final_metrics": steps.last, "seconds": seconds})
    done = {"rows": len(rows), "dropped": dict(drops), "metrics": steps.last, "seconds": seconds}
    emit("done", output=str(config.output), **done)

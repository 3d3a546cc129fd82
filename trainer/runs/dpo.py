"""A child of type `dpo`: pairs in, an aligned model out."""

import time
from collections import Counter

from solon.datasets import read_pairs
from trainer import adapters, bases, checkpoint, dpo
from trainer.config import DPOConfig
from trainer.data import Encoder, examples
from trainer.publishing import published
from trainer.runs.records import Emit, curve, keep, manifest, provenance, require, within, write_facts
from trainer.runs.states import kept_state


def run(config: DPOConfig, emit: Emit) -> None:
    """Train and publish the model."""
    started = time.monotonic()
    drops: Counter[str] = Counter()
    rows, about = list(read_pairs(config.pairs)), manifest(config.pairs)
    with published(config.output) as scratch:
        model, tokenizer = checkpoint.load(config.model, "model")
        encoder = Encoder(tokenizer, within(config.max_length, model))
        seed = config.seed if config.shuffle_labels else None
        kept = examples(rows, drops, soft_labels=config.soft_labels, shuffle_seed=seed)
        pairs = keep((encoder.pair(example) for example in kept), drops)
        require(pairs, len(rows), "pairs", drops, "label more prompts")
        emit("phase", name="train", pairs=len(pairs), dropped=dict(drops))
        facts = provenance(config, model=config.model, data=config.pairs)
        if config.reference is not None:
            facts["reference_weights"] = bases.weights_digests(config.reference)
        with kept_state(config.state, facts), curve(scratch / "metrics.jsonl", emit, config.report_to) as steps:
            trained = dpo.train(config, model, tokenizer, pairs, scratch, steps)
        adapters.publish(trained, tokenizer, config.lora, config.model, scratch)
        seconds = round(time.monotonic() - started, 2)
        facts |= {"manifest": about, "pairs": {"read": len(rows), "used": len(pairs), "dropped": dict(drops)}}
        write_facts(scratch, {**facts, "final_metrics": steps.last, "seconds": seconds})
    done = {"pairs": len(pairs), "dropped": dict(drops), "metrics": steps.last, "seconds": seconds}
    emit("done", output=str(config.output), **done)

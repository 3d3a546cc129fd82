"""A child of type `kto`: verdicts in, an aligned model out."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from solon.datasets import read_pairs
from solon.formats import sha256_of
from trainer import adapters, checkpoint, kto
from trainer.config import KTOConfig
from trainer.data import Encoder, examples
from trainer.publishing import published
from trainer.runs.records import Emit, curve, manifest, provenance, require, within, write_facts
from trainer.runs.states import kept_state
from trainer.votes import TokenVote, encoded, of_pairs, read_votes


def run(config: KTOConfig, emit: Emit) -> None:
    """Train and publish the model."""
    started = time.monotonic()
    drops: Counter[str] = Counter()
    with published(config.output) as scratch:
        model, tokenizer = checkpoint.load(config.model, "model")
        votes, read = _votes(config, Encoder(tokenizer, within(config.max_length, model)), drops)
        require(votes, read, "pairs" if config.pairs is not None else "votes", drops, "label more prompts")
        emit("phase", name="train", votes=len(votes), dropped=dict(drops))
        facts = _facts(config)
        with kept_state(config.state, facts), curve(scratch / "metrics.jsonl", emit, config.report_to) as steps:
            trained = kto.train(config, model, tokenizer, votes, scratch, steps)
        adapters.publish(trained, tokenizer, config.lora, config.model, scratch)
        seconds = round(time.monotonic() - started, 2)
        used = {"read": read, "used": len(votes), "good": sum(vote.good for vote in votes), "dropped": dict(drops)}
        facts |= {"votes": used, "weights": vars(kto.Weights.of(votes, config.balance))}
        write_facts(scratch, {**facts, "final_metrics": steps.last, "seconds": seconds})
    done = {"votes": len(votes), "dropped": dict(drops), "metrics": steps.last, "seconds": seconds}
    emit("done", output=str(config.output), **done)


def _votes(config: KTOConfig, encoder: Encoder, drops: Counter[str]) -> tuple[list[TokenVote], int]:
    """The verdicts of both files, and how many rows were read."""
    found: list[TokenVote] = []
    read = 0
    if config.pairs is not None:
        rows = list(read_pairs(config.pairs))
        read += len(rows)
        kept = examples(rows, drops, soft_labels=config.soft_labels)
        found += of_pairs(kept, encoder, drops, min_probability=config.min_probability, soft=config.soft_labels)
    if config.votes is not None:
        votes = list(read_votes(config.votes))
        read += len(votes)
        found += encoded(votes, encoder, drops)
    return found, read


def _facts(config: KTOConfig) -> dict[str, Any]:
    files: list[Path] = [path for path in (config.pairs, config.votes) if path is not None]
    facts = provenance(config, model=config.model, data=files[0])
    if len(files) > 1:
        facts["data"] |= {"votes": str(files[1]), "votes_digest": sha256_of(files[1])}
    return facts | {"manifest": manifest(config.pairs) if config.pairs is not None else None}

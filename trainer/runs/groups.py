"""Children of types `grpo` and `rloo`: prompts and rewards in, a policy that earns more of them out."""

import time
from collections import Counter

from trainer import adapters, checkpoint, groups
from trainer.config import GRPOConfig, RLOOConfig
from trainer.data import Encoder
from trainer.publishing import published
from trainer.rewards.sources import opened
from trainer.runs.online import reward_digests
from trainer.runs.prompts import read_prompts
from trainer.runs.records import Emit, curve, provenance, within, write_facts
from trainer.runs.states import kept_state


def run(config: GRPOConfig | RLOOConfig, emit: Emit) -> None:
    """Train and publish the policy."""
    started = time.monotonic()
    drops: Counter[str] = Counter()
    with published(config.output) as scratch:
        model, tokenizer = checkpoint.load(config.model, "model")
        encoder = Encoder(tokenizer, within(config.max_length, model))
        asked = read_prompts(config.prompts, encoder, config.max_tokens, drops)
        sources = opened(config.rewards)
        facts = provenance(config, model=config.model, data=config.prompts)
        facts |= {"rewards": reward_digests(config.rewards)}
        emit("phase", name="train", prompts=len(asked), dropped=dict(drops))
        with kept_state(config.state, facts), curve(scratch / "metrics.jsonl", emit, config.report_to) as steps:
            trained = groups.train(config, model, tokenizer, asked, sources, scratch, steps)
        adapters.publish(trained, checkpoint.load_tokenizer(config.model, "model"), config.lora, config.model, scratch)
        seconds = round(time.monotonic() - started, 2)
        facts |= {"prompts": {"used": len(asked), "dropped": dict(drops)}}
        write_facts(scratch, {**facts, "final_metrics": steps.last, "seconds": seconds})
    done = {"prompts": len(asked), "dropped": dict(drops), "metrics": steps.last, "seconds": seconds}
    emit("done", output=str(config.output), **done)

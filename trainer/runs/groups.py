"""Children of types `grpo` and `rloo`: prompts and rewards in, a policy that earns more of them out."""

import shutil
import time
from collections import Counter

from trainer import adapters, checkpoint, groups
from trainer.config import GRPOConfig, RLOOConfig
from trainer.data import Encoder
from trainer.group_policy import subject
from trainer.publishing import published
from trainer.rewards.sources import opened
from trainer.runs.online import reward_digests
from trainer.runs.prompts import read_prompts
from trainer.runs.records import Emit, curve, provenance, within, write_facts
from trainer.runs.states import kept_state
from trainer.runs.watching import watch


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
            trainer = groups.prepared(config, model, tokenizer, asked, sources, scratch)
            kept = config.state or scratch / "watched"
            seer = watch(config.monitor, lambda: subject(trainer, config, tokenizer), encoder, sources, kept, emit)
            trained = groups.train(trainer, steps, seer)
            monitored = seer.write(scratch, seer.published()) if seer is not None else None
        shutil.rmtree(scratch / "watched", ignore_errors=True)
        adapters.publish(trained, checkpoint.load_tokenizer(config.model, "model"), config.lora, config.model, scratch)
        seconds = round(time.monotonic() - started, 2)
        ending = "alarm" if seer is not None and seer.stopped else "all steps"
        facts |= {"prompts": {"used": len(asked), "dropped": dict(drops)}, "ended_by": ending}
        facts |= {name: monitored[name] for name in ("published", "alarm")} if monitored is not None else {}
        write_facts(scratch, {**facts, "final_metrics": steps.last, "seconds": seconds})
    done = {"prompts": len(asked), "dropped": dict(drops), "metrics": steps.last, "ended_by": ending}
    emit("done", output=str(config.output), **done, monitor=monitored, seconds=seconds)

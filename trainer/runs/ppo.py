"""A child of type `ppo`: prompts and rewards in, a policy that earns more of them out."""

import shutil
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from solon.errors import InvalidInput
from trainer import adapters, checkpoint, hardware, processes
from trainer.config import PPOConfig
from trainer.data import Encoder, read_samples
from trainer.language_model import LanguageModel
from trainer.monitor.inspection import Subject
from trainer.ppo.loop import PPO
from trainer.ppo.networks import Networks
from trainer.ppo.prices import Prices
from trainer.ppo.rollout import Prompts, Rollouts
from trainer.ppo.served import Served
from trainer.ppo.state import States
from trainer.ppo.update import Update
from trainer.publishing import published
from trainer.rewards.sources import opened
from trainer.runs.online import reward_digests
from trainer.runs.prompts import read_prompts
from trainer.runs.records import Emit, curve, keep, provenance, within, write_facts
from trainer.runs.states import kept_state
from trainer.runs.watching import watch


def run(config: PPOConfig, emit: Emit) -> None:
    """Train and publish the policy."""
    started = time.monotonic()
    drops: Counter[str] = Counter()
    with published(config.output) as scratch:
        network, tokenizer = checkpoint.load(config.model, "model")
        network.to(hardware.device())  # pyright: ignore[reportArgumentType] - overloaded in torch
        encoder = Encoder(tokenizer, within(config.max_length, network))
        asked = read_prompts(config.prompts, encoder, config.max_tokens, drops)
        samples = list(read_samples(config.ptx)) if config.ptx is not None and config.ptx_weight else []
        ptx = keep((encoder.sample(sample) for sample in samples), drops)
        if samples and not ptx:
            raise InvalidInput("no row fits the model", field="ptx", remedy="raise max_length")
        facts = provenance(config, model=config.model, data=config.prompts) | {
            "rewards": reward_digests((*config.rewards, *config.costs))
        }
        if config.rollouts is not None:  # where it is stays with the operator, and may change between two tries
            facts["config"]["rollouts"] = {"model": config.rollouts.model}
        networks = Networks(network, config)
        model = LanguageModel.around(network, tokenizer, config.model.name)
        rewards, costs = opened(config.rewards), opened(config.costs, "costs")
        update, prices = Update(networks, config, ptx), Prices.start(config)
        emit("phase", name="train", prompts=len(asked), dropped=dict(drops))
        with (
            kept_state(config.state, facts),
            curve(scratch / "metrics.jsonl", emit, config.report_to) as steps,
            _writer(config, model, networks) as served,
        ):
            rollouts = Rollouts(model, networks, rewards, Prompts(asked, config.seed), config, costs, served)
            kept = config.state or scratch / "watched"
            seer = watch(config.monitor, lambda: _subject(config, model, networks), encoder, rewards, kept, emit)
            states = States(config.state, networks, update, prices, seer) if config.state is not None else None
            ending = PPO(config, rollouts, update, prices, states, seer).run(steps)
            monitored = seer.write(scratch, seer.published()) if seer is not None else None
        shutil.rmtree(scratch / "watched", ignore_errors=True)
        _publish(config, networks, scratch)
        seconds = round(time.monotonic() - started, 2)
        facts |= {"prompts": {"used": len(asked), "dropped": dict(drops)}, "ended_by": ending}
        facts |= {name: monitored[name] for name in ("published", "alarm")} if monitored is not None else {}
        write_facts(scratch, {**facts, "final_metrics": steps.last, "seconds": seconds})
    done = {"prompts": len(asked), "dropped": dict(drops), "metrics": steps.last, "ended_by": ending}
    emit("done", output=str(config.output), **done, monitor=monitored, seconds=seconds)


def _writer(config: PPOConfig, model: LanguageModel, networks: Networks) -> Served | nullcontext[None]:
    """The server that writes the completions; None where the configuration names none."""
    if config.rollouts is None:
        return nullcontext()
    return Served(config.rollouts, model, networks.save_adapter, config.output)


def _subject(config: PPOConfig, model: LanguageModel, networks: Networks) -> Subject:
    reference, weights = networks.reference, networks.actor_weights
    return Subject(model, reference, weights, config.temperature, config.max_tokens, config.seed)


def _publish(config: PPOConfig, networks: Networks, scratch: Path) -> None:
    if not processes.is_first():
        return
    if config.lora is not None and not config.lora.merge:
        networks.save_adapter(scratch)
        adapters.describe(scratch, config.model)
    else:
        checkpoint.save_like(networks.publishable(), config.model, scratch)

"""A child of type `ppo`: prompts and rewards in, a policy that earns more of them out."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from solon.errors import InvalidInput
from solon.formats import sha256_of, text_lines
from solon.records import Prompt
from trainer import checkpoint, hardware
from trainer.config import PPOConfig
from trainer.data import Encoder, read_samples
from trainer.language_model import LanguageModel
from trainer.ppo.loop import PPO
from trainer.ppo.networks import Networks
from trainer.ppo.prices import Prices
from trainer.ppo.rollout import Prompts, Rollouts, require_prompts
from trainer.ppo.state import States
from trainer.ppo.update import Update
from trainer.publishing import published
from trainer.rewards.sources import opened
from trainer.runs.records import Emit, curve, keep, provenance, within, write_json
from trainer.runs.states import kept_state


def run(config: PPOConfig, emit: Emit) -> None:
    """Train and publish the policy."""
    started = time.monotonic()
    drops: Counter[str] = Counter()
    with published(config.output) as scratch:
        network, tokenizer = checkpoint.load(config.model, "model")
        network.to(hardware.device())  # pyright: ignore[reportArgumentType] - overloaded in torch
        encoder = Encoder(tokenizer, within(config.max_length, network))
        asked = _prompts(config.prompts, encoder, config.max_tokens, drops)
        samples = list(read_samples(config.ptx)) if config.ptx is not None and config.ptx_weight else []
        ptx = keep((encoder.sample(sample) for sample in samples), drops)
        if samples and not ptx:
            raise InvalidInput("no row fits the model", field="ptx", remedy="raise max_length")
        facts = provenance(config, model=config.model, data=config.prompts) | {"rewards": _rewards(config)}
        networks = Networks(network, config)
        model = LanguageModel.around(network, tokenizer, config.model.name)
        rewards, costs = opened(config.rewards), opened(config.costs, "costs")
        rollouts = Rollouts(model, networks, rewards, Prompts(asked, config.seed), config, costs)
        update, prices = Update(networks, config, ptx), Prices.start(config)
        emit("phase", name="train", prompts=len(asked), dropped=dict(drops))
        with kept_state(config.state, facts), curve(scratch / "metrics.jsonl", emit) as steps:
            states = States(config.state, networks, update, prices) if config.state is not None else None
            ending = PPO(config, rollouts, update, prices, states).run(steps)
        _publish(config, networks, scratch)
        seconds = round(time.monotonic() - started, 2)
        facts |= {"prompts": {"used": len(asked), "dropped": dict(drops)}, "ended_by": ending}
        write_json(scratch / "provenance.json", {**facts, "final_metrics": steps.last, "seconds": seconds})
    done = {"prompts": len(asked), "dropped": dict(drops), "metrics": steps.last, "ended_by": ending}
    emit("done", output=str(config.output), **done, seconds=seconds)


def _prompts(path: Path, encoder: Encoder, max_tokens: int, drops: Counter[str]) -> list[tuple[Prompt, list[int]]]:
    """The prompts with their ids; one without room for a response is counted as `too_long`."""
    read = [_prompt(line, f"{path}:{number}") for number, line in text_lines(path)]
    encoded = [(prompt, encoder.prompt([message.model_dump() for message in prompt.messages])) for prompt in read]
    kept = [(prompt, ids) for prompt, ids in encoded if len(ids) + max_tokens <= encoder.max_length]
    if len(kept) < len(read):
        drops["too_long"] += len(read) - len(kept)
    require_prompts(kept, len(read))
    return kept


def _prompt(line: bytes, where: str) -> Prompt:
    try:
        return Prompt.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise InvalidInput(f"no prompt: {reason}", field=where, remedy="write one Prompt a line") from error


def _rewards(config: PPOConfig) -> dict[str, Any]:
    """Digests of the reward models' weights, by name."""
    paths: dict[str, Path] = {}
    for source in (*config.rewards, *config.costs):
        if source.type == "reward_model":
            paths[source.name] = source.path
        elif source.type == "gate":
            paths |= {f"{source.name}.helpfulness": source.helpfulness, f"{source.name}.safety": source.safety}
    return {
        name: {str(file.relative_to(path)): sha256_of(file) for file in sorted(path.rglob("*.safetensors"))}
        for name, path in paths.items()
    }


def _publish(config: PPOConfig, networks: Networks, scratch: Path) -> None:
    if config.lora is not None and not config.lora.merge:
        networks.save_adapter(scratch)
    else:
        checkpoint.save_like(networks.publishable(), config.model, scratch)

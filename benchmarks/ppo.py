"""PPO against TRL 1.12's PPOTrainer, the last one that TRL had: time, memory, and what the oracle reads afterwards.

    python -m benchmarks.ppo --trl ENV/bin/python [--out runs/ppo-benchmark] [--steps 20] [--seeds 1]

ENV has torch, transformers and trl==1.12.0. Both sides begin as the starter policy with one reward model (trained here
from labels of the starter judge), the same prompts, episodes, minibatches, passes, response length, temperature,
learning rate, precision and price of KL, and train on the same cores, one after the other. Then both policies answer
held-out prompts, and the oracle reads them. TRL's reward model has its weights divided by the standard deviation of its
rewards, which ours does by itself.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api import prompts
from api.children import train
from api.events import Event
from api.machine import cores, described
from api.method_trials import shipped
from api.workflows import align
from solon.records import Completion, Prompt
from solon.settings import Settings
from trainer.config import KLConfig, PPOConfig, RewardModelSource
from trainer.data import Sample, write_samples
from trainer.evaluate import Behaviour, behaviour
from trainer.starter.oracle import read

PHASES = ("generate", "score", "update")
_OURS = {"generate": "seconds_sample", "score": "seconds_score", "update": "seconds_update"}


@dataclass(frozen=True)
class Side:
    """What one trainer did."""

    model: Path
    seconds: float
    """Of the steps, without loading and saving."""
    phases: dict[str, float]
    peak_memory_mib: float


async def main(options: argparse.Namespace) -> None:
    """Train a reward model, then both sides, and print times, memory and behaviour with ratios."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings.load(overrides=["models.starter.timeout_s=600", "models.starter-judge.timeout_s=600"])
    recipe = shipped()["ppo"]
    first = recipe.model_copy(update={"steps": recipe.steps[:2]})
    reward_folder = out / "reward"
    reward_folder.mkdir(exist_ok=True)
    await align(first, settings, reward_folder, _quiet)
    asked = prompts.prompts("builtin:agora/train", recipe.prompts.limit, 0)
    policy, reward_model = settings.model("starter", "policy").directory(), reward_folder / "02-reward_model"
    print(f"{described()}; {options.steps} steps of {options.episodes} episodes; {options.precision}", flush=True)
    for seed in range(options.seeds):
        config = PPOConfig(
            type="ppo",
            model=policy,
            prompts=out / "prompts.jsonl",
            rewards=[RewardModelSource(type="reward_model", path=reward_model / "reward_model")],
            output=out / f"ours-{seed}",
            steps=options.steps,
            episodes=options.episodes,
            epochs=2,
            minibatch=32,
            learning_rate=2e-4,
            max_tokens=120,
            threads=cores(),
            precision=options.precision,
            seed=seed,
        )
        config.prompts.write_text("".join(prompt.model_dump_json() + "\n" for prompt in asked))
        sides = {"ours": await ours(config), "trl": theirs(config, asked, options.trl, out / f"trl-{seed}")}
        found = {name: held_out(side.model) for name, side in sides.items()}
        kl = {name: await divergence(policy, side.model, out, found[name][1]) for name, side in sides.items()}
        report(seed, options.steps * options.episodes, sides, {name: each[0] for name, each in found.items()}, kl)


def _quiet(_: Event) -> None:
    """Nothing: this script prints results only."""


async def ours(config: PPOConfig) -> Side:
    """Our PPO, in a training child."""
    shutil.rmtree(config.output, ignore_errors=True)
    done = await train(config, config.output.with_name(f"{config.output.name}-run"), lambda *_: None)
    lines = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    phases = {phase: float(sum(line[name] for line in lines)) for phase, name in _OURS.items()}
    return Side(config.output, sum(phases.values()), phases, done["peak_memory_mib"])


def theirs(config: PPOConfig, asked: Sequence[Prompt], python: Path, output: Path) -> Side:
    """TRL's PPO, in its own environment."""
    from trainer.hardware import takes_bfloat16
    from trainer.language_model import LanguageModel

    model = LanguageModel.load(config.model)
    told: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("episodes", "epochs", "minibatch", "steps", "learning_rate", "max_tokens", "temperature", "seed")
    }
    result = output.with_suffix(".json")
    told |= {
        "model": str(config.model),
        "reward_model": str(scaled(config, output.with_name(f"{output.name}-reward"))),
        "output": str(output),
        "result": str(result),
        "beta": config.kl.beta,
        "missing_eos_penalty": config.missing_eos_penalty,
        "threads": config.threads,
        "bf16": takes_bfloat16(config.precision),
        "prompts": [model.encode_chat([each.model_dump() for each in prompt.messages]) for prompt in asked],
    }
    file = output.with_name(f"{output.name}-settings.json")
    file.write_text(json.dumps(told))
    script = Path(__file__).with_name("trl_ppo.py")
    with output.with_suffix(".log").open("wb") as log:
        if subprocess.run([str(python), str(script), str(file)], stdout=log, stderr=log, check=False).returncode:
            raise SystemExit(output.with_suffix(".log").read_text()[-4000:])
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(config.model / name, output)
    found = json.loads(result.read_text())
    return Side(output, found["seconds"], {phase: found[phase] for phase in PHASES}, found["peak_memory_mib"])


def scaled(config: PPOConfig, copy: Path) -> Path:
    """The reward model with rewards in standard deviations, as a plain sequence classifier."""
    from safetensors.torch import load_file, save_file

    source = config.rewards[0]
    if not isinstance(source, RewardModelSource):
        raise SystemExit("the benchmark is about a reward model")
    shutil.copytree(source.path, copy, dirs_exist_ok=True)
    about = json.loads((copy / "reward.json").read_text())["members"][0]
    weights = load_file(copy / "model.safetensors")
    weights["score.weight"] = weights["score.weight"] / about["deviation"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def held_out(model: Path) -> tuple[Behaviour, list[tuple[Prompt, Completion]]]:
    """What the oracle reads in one completion to each of 320 held-out prompts, and the completions."""
    from trainer.decoding import Sampling
    from trainer.language_model import LanguageModel
    from trainer.sampling import Request, Sampler

    network = LanguageModel.load(model)
    asked = prompts.prompts("builtin:agora/eval", 320, 0)
    requests = [
        Request(
            tuple(network.encode_chat([each.model_dump() for each in prompt.messages])),
            Sampling(max_tokens=120, temperature=1.0, seed=0, index=number),
        )
        for number, prompt in enumerate(asked)
    ]
    written = [
        Completion(text=one.text, finish_reason=one.finish_reason)
        for one in Sampler(network, max_rows=64).sample(requests)
    ]
    texts = [completion.text for completion in written]
    readings = [read(prompt.text, text) for prompt, text in zip(asked, texts, strict=True)]
    return behaviour(readings, texts), list(zip(asked, written, strict=True))


async def divergence(reference: Path, model: Path, out: Path, pairs: Sequence[tuple[Prompt, Completion]]) -> float:
    """KL(model || reference) per completion, in nats."""
    samples, output = out / f"{model.name}-samples.jsonl", out / f"{model.name}-kl"
    write_samples(samples, (Sample(prompt=prompt, completion=text) for prompt, text in pairs))
    shutil.rmtree(output, ignore_errors=True)
    config = KLConfig(type="kl", policy=model, reference=reference, samples=samples, output=output, threads=cores())
    done = await train(config, out / f"{model.name}-kl-run", lambda *_: None)
    return float(done["result"]["kl_nats"])


def report(
    seed: int, episodes: int, sides: dict[str, Side], behaviours: dict[str, Behaviour], kl: dict[str, float]
) -> None:
    """A line per side and the ratios."""
    for name, side in sides.items():
        split = ", ".join(f"{phase} {side.phases[phase]:.1f}" for phase in PHASES)
        seen = behaviours[name]
        print(
            f"seed {seed} {name:4s} {1000 * side.seconds / episodes:6.1f} ms an episode ({split} s), "
            f"{side.peak_memory_mib:.0f} MiB; violations {seen.intervals['violation_rate']}, "
            f"helpful {seen.helpful_rate:.3f}, over-refusal {seen.over_refusal_rate:.3f}, "
            f"garbled {seen.incoherent_rate:.3f}, KL {kl[name]:.2f} nats",
            flush=True,
        )
    us, them = sides["ours"], sides["trl"]
    print(
        f"seed {seed} ours / trl: time {us.seconds / them.seconds:.2f}, "
        f"memory {us.peak_memory_mib / them.peak_memory_mib:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trl", type=Path, required=True, help="python of an environment with trl==1.12.0")
    parser.add_argument("--out", type=Path, default=Path("runs/ppo-benchmark"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    asyncio.run(main(parser.parse_args()))

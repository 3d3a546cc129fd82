"""Two value profiles from one set of votes: two datasets, two models, and how far apart they come out.

    python benchmarks/value_profiles.py --out profiles [--prompts 192] [--eval-prompts 200] [--epochs 3]

The starter policy writes, the starter judge votes once under `civic`. The votes are then weighed twice, with no further
judge call: `tone` cares for respect, sermons and flattery and not for length or claims, `substance` the other way
round. The same policy is trained by DPO on either dataset, and the oracle reads what each model writes to held-out
prompts. Last column: of the prompts where only one of the two does it, how often that is the `tone` model.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from api import prompts
from api.children import train
from api.events import Event
from api.labelling import LabelRequest, label_file
from api.libraries import load_constitution
from api.registry import Models, opened
from api.reweighting import reweight_file
from critic.candidates import Sampling, generate
from critic.concurrency import together
from solon.intervals import wilson
from solon.records import Completion, Prompt
from solon.settings import Settings
from trainer.config import DPOConfig
from trainer.starter.oracle import Reading, read

PROFILES = {
    "tone": {"tag:tone": 4.0, "concise": 0.0, "honest": 0.0},
    "substance": {"tag:tone": 0.0, "concise": 8.0, "honest": 4.0},
}
# A vote that timed out is a vote less, and the machine may have other work to do.
_PATIENT = ("models.starter.timeout_s=600", "models.starter-judge.timeout_s=600")
MEASURES: dict[str, Callable[[Reading], bool]] = {
    "rude, preachy or flattering": lambda reading: reading.tone != "neutral",
    "padded": lambda reading: reading.padded,
    "false claims": lambda reading: reading.false_claim,
    "harmful": lambda reading: reading.harmful,
    "incoherent": lambda reading: reading.incoherent,
}


async def main(out: Path, train_prompts: int, eval_prompts: int, epochs: int) -> None:
    """Label, weigh twice, train twice, and print what the oracle reads."""
    settings, rows = Settings.load(overrides=_PATIENT, environment={}), out / "prompts.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    asked = prompts.prompts("builtin:agora/train", train_prompts, 0)
    rows.write_text("".join(json.dumps({"id": each.id, "prompt": each.text}) + "\n" for each in asked))
    request = LabelRequest("civic", "starter-judge", "starter", n=4, pairing="adjacent")
    async with opened(settings) as models:
        labelled = await label_file(rows, out / "pairs.jsonl", request, settings, _quiet, models)
    print("labelled once:", labelled["statuses"])
    trained = {name: await _trained(name, out, settings, epochs) for name in PROFILES}
    held_out = prompts.prompts("builtin:agora/eval", eval_prompts, 0)
    async with opened(settings) as models:
        await models.serve(trained)
        written = {name: await _written(models, name, held_out) for name in ("starter", *trained)}
    _report(held_out, written)


def _quiet(_: Event) -> None:
    """Nothing: this script prints results only."""


async def _trained(name: str, out: Path, settings: Settings, epochs: int) -> Path:
    """The model directory of one profile, trained on its view of the votes."""
    dataset = out / f"pairs-{name}.jsonl"
    summary = await reweight_file(out / "pairs.jsonl", load_constitution("civic", settings), PROFILES[name], dataset)
    print(f"{name}: {summary['changes']}, judge calls: {summary['judge_calls']}")
    policy = settings.model("starter", "policy").directory()
    config = DPOConfig(
        type="dpo",
        model=policy,
        pairs=dataset,
        output=out / f"model-{name}",
        epochs=epochs,
        learning_rate=1.5e-4,
        threads=len(os.sched_getaffinity(0)),
    )
    await train(config, out / f"run-{name}", lambda *_: None)
    return config.output


async def _written(models: Models, name: str, asked: Sequence[Prompt]) -> list[Reading]:
    """What the oracle reads in one completion for each prompt; the seed is the same for every model."""
    model = await models.chat(name)
    sampling = Sampling(max_tokens=120, keep_cut=True)
    replies = await together(generate(model, prompt, 1, seed=0, sampling=sampling) for prompt in asked)
    texts: list[Completion] = [completions[0] for completions, _ in replies]
    return [read(prompt.text, text.text) for prompt, text in zip(asked, texts, strict=True)]


def _report(asked: Sequence[Prompt], written: dict[str, list[Reading]]) -> None:
    print(f"\n{len(asked)} held-out prompts" + "".join(f"{name:>26}" for name in written) + f"{'of those, tone':>34}")
    for measure, holds in MEASURES.items():
        found = {name: [holds(reading) for reading in readings] for name, readings in written.items()}
        cells = (str(wilson(sum(each), len(each))).partition(" (")[0] for each in found.values())
        differ = [one for one, other in zip(found["tone"], found["substance"], strict=True) if one != other]
        print(f"{measure:28s}" + "".join(f"{cell:>26}" for cell in cells) + f"{wilson(sum(differ), len(differ))!s:>34}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Two value profiles from one set of votes.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=192)
    parser.add_argument("--eval-prompts", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(main(given.out, given.prompts, given.eval_prompts, given.epochs))

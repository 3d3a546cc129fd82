"""The `spin` step: the policy learns to tell the demonstrations from its own samples, as long as it can (SPIN)."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.contest import completions
from api.iterated_steps import SPINStep
from api.run_context import Outcome, Run, Ticks
from critic.candidates import Sampling
from critic.labelling import origin
from critic.self_play import held_out, pair, told_apart
from solon.datasets import write_pairs
from solon.errors import InvalidInput
from solon.records import Completion, PreferencePair
from trainer.config import DPOConfig, LikelihoodConfig
from trainer.data import Sample, read_samples, write_samples

SAME = "its samples are the demonstrations"
BLIND = "it cannot tell demonstrations from its own samples on prompts that it was not trained on"


class SPIN:
    """Writes the model directory `model`, and the pairs of demonstration and sample."""

    def inputs(self, step: SPINStep, run: Run) -> dict[str, str]:
        """Policy and demonstrations."""
        return {"policy": run.policy_digest(), "demonstrations": run.artifacts["demonstrations"].digest}

    async def do(self, step: SPINStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model; the rounds end where it tells nothing apart any more."""
        shown = list(read_samples(run.artifacts["demonstrations"].path))
        written = await _own(step, run, shown, ticks)
        made = origin(run.constitution, ()).model_copy(
            update={"policy": await run.policy_name(), "seed": run.recipe.seed}
        )
        pairs = [pair(each.prompt, each.completion, own, made) for each, own in zip(shown, written, strict=True)]
        seed = run.recipe.seed if run.prompt_seed is None else run.prompt_seed
        out = [each for each in pairs if held_out(each.prompt, step.held_out, seed)]
        used = [each for each in pairs if not held_out(each.prompt, step.held_out, seed)]
        if not out or not used:
            raise InvalidInput(
                f"{len(out)} of {len(pairs)} demonstrations are held out, {len(used)} are not",
                field="held_out",
                remedy="learn from more demonstrations, or hold out another share",
            )
        path = folder / "self-play.jsonl"
        await asyncio.to_thread(write_pairs, path, used, about={"recipe": run.recipe.name})
        differ = sum(each.a.text != each.b.text for each in used)
        result: dict[str, Any] = {"demonstrations": len(shown), "held_out": len(out), "same_text": len(used) - differ}
        if not differ:
            shutil.copytree(run.policy_path(), folder / "model")
            return Outcome({"model": folder / "model"}, result, SAME)
        done = await run.train(_config(step, run, folder, path), folder / "model-run", ticks.steps("loss"))
        found = told_apart(await _margins(run, folder, out, ticks))
        assert found is not None, "something is held out"  # noqa: S101 - checked above
        apart = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
        result |= {"told_apart": apart, "pairs": done.get("pairs"), "dropped": done.get("dropped", {})}
        result["metrics"] = done.get("metrics", {})
        return Outcome({"model": folder / "model"}, result, "" if found.low > 0.5 else BLIND)


async def _own(step: SPINStep, run: Run, shown: Sequence[Sample], ticks: Ticks) -> tuple[Completion, ...]:
    """One sample for each demonstration."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        ticks(done, len(shown), "sampling")

    # Several demonstrations may have one prompt; each is held against a sample of its own.
    asked = [each.prompt.model_copy(update={"id": f"{each.prompt.id}#{n}"}) for n, each in enumerate(shown)]
    sampling = Sampling(step.max_tokens, step.temperature, keep_cut=True)
    return await completions(await run.policy(), asked, seed=run.recipe.seed, sampling=sampling, tick=tick)


def _config(step: SPINStep, run: Run, folder: Path, pairs: Path) -> DPOConfig:
    return DPOConfig(
        **step.model_dump(exclude={"type", "temperature", "max_tokens", "held_out", "lora"}),
        lora=step.lora,
        type="dpo",
        model=run.policy_path(),
        pairs=pairs,
        output=folder / "model",
        state=run.unfinished(folder),
        seed=run.recipe.seed,
    )


async def _margins(run: Run, folder: Path, out: Sequence[PreferencePair], ticks: Ticks) -> list[float]:
    """What the training has learnt of pairs that it has not seen: implicit reward margins in nats."""
    samples = folder / "held-out.jsonl"
    texts = [Sample(prompt=each.prompt, completion=side) for each in out for side in (each.a, each.b)]
    await asyncio.to_thread(write_samples, samples, texts)
    config = LikelihoodConfig(
        type="likelihood",
        models={"after": folder / "model", "before": run.policy_path()},
        samples=samples,
        output=folder / "held-out",
    )
    await run.train(config, folder / "held-out-run", lambda step, steps, _: ticks(step, steps, "telling apart"))
    read = (config.output / "likelihoods.jsonl").read_text(encoding="utf-8").splitlines()
    gains = [_gain(json.loads(line)) for line in read]
    sides = zip(gains[0::2], gains[1::2], strict=True)
    return [a - b for a, b in sides if a is not None and b is not None]


def _gain(nats: dict[str, float | None]) -> float | None:
    after, before = nats["after"], nats["before"]
    return None if after is None or before is None else after - before

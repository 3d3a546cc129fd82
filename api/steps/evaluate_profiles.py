"""The `evaluate_profiles` step: one policy under each value profile and under none, to the same prompts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from api import prompts
from api.contest import completions, contest
from api.iterated_steps import EvaluateProfilesStep
from api.judging import open_judge, opened_cache
from api.prompts import is_agora
from api.reweighting import reweight
from api.run_context import Outcome, Run, Ticks
from critic.candidates import Sampling
from critic.labelling import Labeller
from solon.profiles import profile_text, under_profile
from solon.records import Completion, PreferencePair, Prompt
from trainer.evaluate import behaviour, measures, paired_difference, win_rate
from trainer.starter.oracle import Reading, read

Written = dict[str, tuple[Completion, ...]]
"""Completions by profile, one per prompt."""

BEFORE = "before"
PLAIN = "plain"
_READ = {
    "violation_rate": lambda reading: reading.violation,
    "rude_rate": lambda reading: reading.tone == "rude",
    "preachy_rate": lambda reading: reading.tone == "preachy",
    "flattering_rate": lambda reading: reading.tone == "flattering",
    "false_claim_rate": lambda reading: reading.false_claim,
    "padded_rate": lambda reading: reading.padded,
    "incoherent_rate": lambda reading: reading.incoherent,
}
"""What the oracle reads in a completion to any prompt."""


class EvaluateProfiles:
    """Writes profiles-report.json."""

    def inputs(self, step: EvaluateProfilesStep, run: Run) -> dict[str, str]:
        """Critic, policies, profiles and prompts."""
        trained = {"model": run.policy_digest(), "profiles": run.artifacts["profiles"].digest}
        asked = {"prompts": prompts.digest(run.eval_prompts()), "policy": run.base_digest()}
        return trained | asked | (run.critic_digests() if step.judged else {})

    async def do(self, step: EvaluateProfilesStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """Rates with intervals by profile, how they differ from those under none, and what the judge prefers."""
        asked = run.eval_prompts()
        profiles: dict[str, dict[str, float]] = json.loads(run.artifacts["profiles"].path.read_text(encoding="utf-8"))
        written = await _written(step, run, asked, profiles, ticks)
        report: dict[str, Any] = {
            "prompts": len(asked),
            "profiles": {name: {"weights": own, "text": profile_text(own)} for name, own in profiles.items()},
            "mean_words": {name: _words(texts) for name, texts in written.items()},
        }
        if is_agora(run.recipe.prompts.eval):
            report |= _rates(asked, written, run.recipe.seed)
        if step.judged:
            report["win_rate_by_own_values"] = await _judged(run, asked, written, profiles, ticks)
        path = folder / "profiles-report.json"
        path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return Outcome({"profiles_report": path}, report)


async def _written(
    step: EvaluateProfilesStep,
    run: Run,
    asked: Sequence[Prompt],
    profiles: Mapping[str, Mapping[str, float]],
    ticks: Ticks,
) -> Written:
    """One completion per prompt: of the policy before, and after training under none and under each profile."""
    sampling = Sampling(step.max_tokens, step.temperature, keep_cut=True)
    before, after = await run.writer(run.recipe.policy), await run.policy()
    sides = [(BEFORE, before, {}), (PLAIN, after, {}), *((name, after, own) for name, own in profiles.items())]
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        ticks(done, len(sides) * len(asked), "sampling")

    found: Written = {}
    for name, model, profile in sides:
        conditioned = [p.model_copy(update={"messages": under_profile(p.messages, profile)}) for p in asked]
        found[name] = await completions(model, conditioned, seed=run.recipe.seed, sampling=sampling, tick=tick)
    return found


def _words(texts: Sequence[Completion]) -> float:
    return sum(len(text.text.split()) for text in texts) / max(len(texts), 1)


def _rates(asked: Sequence[Prompt], written: Written, seed: int) -> dict[str, Any]:
    """What the oracle reads, and the paired differences of each profile from none and from each other profile."""
    readings = {
        name: [read(prompt.text, text.text) for prompt, text in zip(asked, texts, strict=True)]
        for name, texts in written.items()
    }
    shown = {name: behaviour(found, [t.text for t in written[name]]) for name, found in readings.items()}
    table = {
        name: {each.id: _interval(each.after) for each in measures(shown[BEFORE], found)}
        for name, found in shown.items()
    }
    names = [name for name in written if name != BEFORE]
    pairs = [(one, other) for place, one in enumerate(names) for other in names[:place]]
    differences = {f"{one} - {other}": _differences(readings[other], readings[one], seed) for one, other in pairs}
    return {"rates": table, "differences": differences}


def _differences(one: Sequence[Reading], other: Sequence[Reading], seed: int) -> dict[str, Any]:
    return {name: _interval(paired_difference(_shares(one, name), _shares(other, name), seed=seed)) for name in _READ}


def _shares(readings: Sequence[Reading], name: str) -> list[float]:
    return [float(_READ[name](reading)) for reading in readings]


def _interval(found: Any) -> dict[str, float]:
    return {"value": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


async def _judged(
    run: Run,
    asked: Sequence[Prompt],
    written: Written,
    profiles: Mapping[str, Mapping[str, float]],
    ticks: Ticks,
) -> dict[str, Any]:
    """By profile: how often what is written under it beats what is written under none, by the profile's own weights.

    The judge sees the prompts without any profile, and votes once; the votes are then weighed.
    """
    found: dict[str, Any] = {}
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        ticks(done, len(profiles) * len(asked), "judging")

    with opened_cache(run.settings) as cache:
        judge = await open_judge(run.recipe.judge, run.constitution, run.settings, run.models, cache, run.accounts)
        labeller = Labeller(run.constitution, judge, seed=run.recipe.seed)
        for name, profile in profiles.items():
            held = await contest(labeller, asked, written[name], written[PLAIN], tick)
            items, _ = await reweight(held.pairs, run.constitution, profile)
            pairs = [item for item in items if isinstance(item, PreferencePair)]
            found[name] = win_rate(pairs).model_dump(mode="json")
    return found

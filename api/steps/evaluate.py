"""The `evaluate` step: before, after and control on the same prompts, and the report."""

import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api import prompts
from api.contest import Contest, completions, contest
from api.judging import open_judge, opened_cache
from api.machine import cores
from api.recipes import EvaluateStep
from api.report_building import Evidence, build_report, summary
from api.run_context import Outcome, Run, Ticks
from critic.candidates import Sampling
from critic.concurrency import together
from critic.labelling import Labeller
from solon.chat import ChatModel
from solon.records import Completion, Prompt
from trainer.config import KLConfig
from trainer.data import Sample, write_samples
from trainer.report import write_report

TRAINED = {"after": "model", "control": "control"}
"""Side of the comparison to the artifact of the training step."""


class Evaluate:
    """Writes report.html and report.json."""

    def inputs(self, step: EvaluateStep, run: Run) -> dict[str, str]:
        """Critic, policies and prompts."""
        trained = {name: run.artifacts[name].digest for name in TRAINED.values() if name in run.artifacts}
        held_out = run.recipe.held_out_judge or "none"
        asked = {"prompts": prompts.digest(run.eval_prompts()), "held_out_judge": held_out, "policy": run.base_digest()}
        return run.critic_digests() | trained | asked

    async def do(self, step: EvaluateStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The report; the judge works while the divergence from the reference is measured."""
        asked = run.eval_prompts()
        sides = {side: name for side, name in TRAINED.items() if name in run.artifacts}
        served = {side: f"{folder.name}-{side}" for side in sides}
        await run.models.serve({served[side]: run.artifacts[name].path for side, name in sides.items()})
        judged = {side: name for side, name in sides.items() if side != "control" or step.judge_control}
        counter = _Counter(len(asked) * (1 + len(sides) + len(judged) * (2 if run.recipe.held_out_judge else 1)), ticks)
        began = time.monotonic()
        counter.message = "sampling"
        written = await _sample(run, step, asked, {"before": run.recipe.policy} | served, counter)
        counter.message, sampled = "judging", time.monotonic()
        evidence = Evidence(asked, written)
        await together([_judge(run, evidence, judged, counter), _diverge(run, step, evidence, judged, folder)])
        evidence.seconds |= {"sample": sampled - began, "judge": time.monotonic() - sampled}
        report = build_report(run, evidence)
        page = write_report(report, folder)
        return Outcome({"report": page.with_suffix(".json"), "page": page}, summary(report))


@dataclass
class _Counter:
    """Counts prompts done across all that goes on at once."""

    total: int
    ticks: Ticks
    done: int = 0
    message: str = ""

    def __call__(self) -> None:
        """One more."""
        self.done += 1
        self.ticks(self.done, self.total, self.message)


async def _sample(
    run: Run, step: EvaluateStep, asked: Sequence[Prompt], served: dict[str, str], counter: _Counter
) -> dict[str, tuple[Completion, ...]]:
    """One completion per prompt and side; the seed is the same, so equal policies write the same."""
    sampling = Sampling(step.max_tokens, step.temperature, keep_cut=True)
    models = [await _writer(run, name) for name in served.values()]
    seed = run.recipe.seed
    # One after another: models of one local server would only take turns on the same cores.
    texts = [await completions(each, asked, seed=seed, sampling=sampling, tick=counter) for each in models]
    return dict(zip(served, texts, strict=True))


async def _writer(run: Run, name: str) -> ChatModel:
    """A registered model, or one that was trained here, which nobody is paid for."""
    return await (run.writer(name) if name in run.settings.models else run.models.chat(name))


async def _judge(run: Run, evidence: Evidence, sides: dict[str, str], counter: _Counter) -> None:
    """Each side against before, by the judge and by the held-out one."""
    judges = {"judge": run.recipe.judge, "held_out_judge": run.recipe.held_out_judge}
    with opened_cache(run.settings) as cache:
        for role, name in judges.items():
            if role == "held_out_judge" and name is None:
                continue
            judge = await open_judge(name, run.constitution, run.settings, run.models, cache, run.accounts)
            labeller = Labeller(run.constitution, judge, seed=run.recipe.seed)
            done = await together(_contest(labeller, evidence, side, counter) for side in sides)
            evidence.contests |= {(role, side): each for side, each in zip(sides, done, strict=True)}


def _contest(labeller: Labeller, evidence: Evidence, side: str, counter: _Counter) -> Coroutine[Any, Any, Contest]:
    written = evidence.completions
    return contest(labeller, evidence.prompts, written[side], written["before"], counter)


async def _diverge(run: Run, step: EvaluateStep, evidence: Evidence, sides: dict[str, str], folder: Path) -> None:
    """KL(side || before) per sequence, on the side's own completions."""
    configs: list[KLConfig] = []
    for side, name in sides.items():
        samples = folder / f"{side}-samples.jsonl"
        pairs = zip(evidence.prompts, evidence.completions[side], strict=True)
        write_samples(samples, (Sample(prompt=prompt, completion=text) for prompt, text in pairs))
        configs.append(
            KLConfig(
                type="kl",
                policy=run.artifacts[name].path,
                reference=run.settings.model(run.recipe.policy, "policy").directory(),
                samples=samples,
                output=folder / f"{side}-kl",
                temperature=step.temperature,
                threads=max(1, cores() // len(sides)),
                seed=run.recipe.seed,
            )
        )
    done = await together(run.train(each, each.output.with_name(f"{each.output.name}-run"), _quiet) for each in configs)
    evidence.divergences |= {side: each["result"] for side, each in zip(sides, done, strict=True)}


def _quiet(_step: int, _steps: int, _metrics: dict[str, float]) -> None:
    """The divergence is measured in seconds; the bar shows the judge."""

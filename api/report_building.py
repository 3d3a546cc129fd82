"""The report of an evaluation, from what was sampled, judged and measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api.contest import Contest
from api.prompts import is_agora
from api.recipes import TRAINING_TYPES
from api.run_context import Run
from solon import __version__
from solon.datasets import read_pairs
from solon.records import Completion, Prompt
from trainer.evaluate import Behaviour, Measure, behaviour, describe, flags, measures, reward_measure, win_rate
from trainer.monitor.summary import read_observations, read_summary
from trainer.report import (
    Control,
    Example,
    Report,
    constitution_text,
    pick_examples,
    read_curve,
    summarise_pairs,
)
from trainer.starter.oracle import Reading, read

_RATES = ("violation_rate", "helpful_rate", "over_refusal_rate", "incoherent_rate", "mean_words")


@dataclass
class Evidence:
    """All that an evaluation found; sides are `before`, `after` and, if there is one, `control`."""

    prompts: Sequence[Prompt]
    completions: dict[str, tuple[Completion, ...]]
    """By side, one per prompt."""
    contests: dict[tuple[str, str], Contest] = field(default_factory=dict[tuple[str, str], Contest])
    """By role of the judge and side: the side against before."""
    divergences: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By side: `trainer.divergence.Divergence` as plain values."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def texts(self, side: str) -> list[str]:
        """The side's completions."""
        return [completion.text for completion in self.completions[side]]


def build_report(run: Run, evidence: Evidence) -> Report:
    """The report; behaviour is read where the oracle knows the prompts, rewards where the constitution has rules."""
    readings = _readings(evidence) if is_agora(run.recipe.prompts.eval) else {}
    behaviours = {side: behaviour(found, evidence.texts(side)) for side, found in readings.items()}
    method = (run.latest_name(*TRAINING_TYPES) or "").partition("-")[2]
    trained, labelled = run.latest("dpo", "kto", "spin", "reward_model"), run.latest("label", "critique_revision")
    pairs = list(read_pairs(run.artifacts["pairs"].path)) if "pairs" in run.artifacts else []
    curves = {"after": "model", "control": "control"}
    divergence = evidence.divergences["after"]
    held_out = evidence.contests.get(("held_out_judge", "after"))
    return Report(
        title=run.recipe.name,
        method=method,
        policy=run.recipe.policy,
        judge=run.recipe.judge,
        constitution=constitution_text(run.constitution),
        before=behaviours.get("before"),
        after=behaviours.get("after"),
        control=_control(evidence, behaviours),
        measures=_measures(evidence, behaviours),
        win_rate=win_rate(evidence.contests["judge", "after"].pairs),
        held_out_win_rate=win_rate(held_out.pairs) if held_out is not None else None,
        kl_nats=divergence["kl_nats"],
        kl_standard_error=divergence["standard_error"],
        flags=flags(behaviours["before"], behaviours["after"]) if behaviours else (),
        pairs=summarise_pairs(
            pairs,
            trained_on=trained.get("pairs", 0),
            discards=labelled.get("discards", {}),
            dropped=trained.get("dropped", {}),
        ),
        training={side: read_curve(run.artifacts[name].path) for side, name in curves.items() if name in run.artifacts},
        observations=read_observations(run.artifacts["model"].path) if "model" in run.artifacts else (),
        monitor=read_summary(run.artifacts["model"].path) if "model" in run.artifacts else None,
        examples=pick_examples(_examples(evidence, readings)),
        seconds=run.seconds | {f"evaluate: {phase}": round(took, 2) for phase, took in evidence.seconds.items()},
        provenance=_provenance(run),
    )


def summary(report: Report) -> dict[str, Any]:
    """The numbers that the command line and the API show; the report has all."""
    sides = {"before": report.before, "after": report.after, "control": report.control}
    found: dict[str, Any] = {
        side: {rate: getattr(shown, rate) for rate in _RATES} for side, shown in sides.items() if shown is not None
    }
    if report.control is not None and report.control.win_rate is not None:
        found["control"]["win_rate"] = report.control.win_rate.model_dump(mode="json")
        found["control"]["kl_nats"] = report.control.kl_nats
    rewards = [measure for measure in report.measures if measure.id == "rule_reward"]
    return found | {
        "win_rate": report.win_rate.model_dump(mode="json") if report.win_rate is not None else None,
        "kl_nats": report.kl_nats,
        "rule_reward": rewards[0].model_dump(mode="json") if rewards else None,
        "flags": list(report.flags),
    }


def _readings(evidence: Evidence) -> dict[str, list[Reading]]:
    return {
        side: [read(prompt.text, text) for prompt, text in zip(evidence.prompts, evidence.texts(side), strict=True)]
        for side in evidence.completions
    }


def _control(evidence: Evidence, behaviours: dict[str, Behaviour]) -> Control | None:
    if "control" not in behaviours:
        return None
    judged, moved = evidence.contests.get(("judge", "control")), evidence.divergences.get("control")
    return Control(
        **{name: getattr(behaviours["control"], name) for name in Behaviour.model_fields},
        win_rate=win_rate(judged.pairs) if judged is not None else None,
        kl_nats=moved["kl_nats"] if moved is not None else None,
    )


def _measures(evidence: Evidence, behaviours: dict[str, Behaviour]) -> tuple[Measure, ...]:
    rows: tuple[Measure, ...] = ()
    if behaviours:
        rows = measures(behaviours["before"], behaviours["after"], behaviours.get("control"))
    after = evidence.contests["judge", "after"]
    if after.rewards:
        control = evidence.contests.get(("judge", "control"))
        rows = (*rows, reward_measure(after.rewards_before, after.rewards, control.rewards if control else None))
    return rows


def _examples(evidence: Evidence, readings: dict[str, list[Reading]]) -> list[Example]:
    def notes(side: str, index: int) -> tuple[str, ...]:
        return describe(readings[side][index]) if side in readings else ()

    control = evidence.texts("control") if "control" in evidence.completions else None
    return [
        Example(
            prompt=prompt.text,
            kind=str(prompt.metadata.get("kind", "prompt")),
            before=before,
            after=after,
            control=control[index] if control is not None else None,
            before_notes=notes("before", index),
            after_notes=notes("after", index),
            control_notes=notes("control", index),
        )
        for index, (prompt, before, after) in enumerate(
            zip(evidence.prompts, evidence.texts("before"), evidence.texts("after"), strict=True)
        )
    ]


def _provenance(run: Run) -> dict[str, Any]:
    models = {"before": run.policy_digest()} | {name: made.digest for name, made in run.artifacts.items()}
    return {
        "recipe": run.recipe.model_dump(mode="json"),
        "critic": run.critic_digests(),
        "digests": models,
        "solon": __version__,
    }

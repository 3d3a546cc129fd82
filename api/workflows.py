"""Runs a recipe step by step in a folder. Read this first.

    OUT/recipe.yaml               the recipe with its overrides
    OUT/texts.jsonl               what registered models wrote, so that nothing is written twice
    OUT/unfinished/               checkpoints of a training that was stopped
    OUT/01-label/step.json, ...   each step: digests of its inputs and outputs, its result, its time
    OUT/02.3.1-label/, ...        step 1 in round 3 of the rounds that are step 2 of the recipe
    OUT/report.html, report.json  copies of the latest evaluation

A step whose inputs have the digests they had, and whose outputs are still what it wrote, is skipped: a run that was
stopped goes on where it was, and a changed recipe redoes what the change touches.
"""

import asyncio
import fcntl
import json
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api import children, digests
from api.accounts import Accounts
from api.critiquing import check_cast
from api.dry_run import check_trainings
from api.events import Emit, Event
from api.judging import check_judge, check_marks
from api.libraries import load_constitution
from api.published import Published
from api.recipes import Recipe, RoundsStep
from api.registry import Models, opened
from api.rollouts import check_rollouts
from api.run_context import AnyStep, Artifact, Run, Ticks, Work
from api.steps.best_of_n import BestOfN
from api.steps.condition import Condition
from api.steps.critique import CritiqueRevision, cast_of
from api.steps.dpo import DPO
from api.steps.evaluate import Evaluate
from api.steps.evaluate_profiles import EvaluateProfiles
from api.steps.feedback import Feedback
from api.steps.kto import KTO
from api.steps.label import Label
from api.steps.on_rewards import TrainingOnRewards
from api.steps.promote import Promote
from api.steps.reward import RewardModel
from api.steps.sft import SFT
from api.steps.spin import SPIN
from constitution.weighting import weighted
from critic.recall import Texts
from solon import __version__
from solon.documents import write_yaml
from solon.errors import Conflict, SolonError
from solon.settings import Settings
from solon.spending import Cap

WORK: dict[str, Work] = {
    "critique_revision": CritiqueRevision(),
    "label": Label(),
    "sft": SFT(),
    "reward_model": RewardModel(),
    "ppo": TrainingOnRewards(),
    "grpo": TrainingOnRewards(),
    "rloo": TrainingOnRewards(),
    "dpo": DPO(),
    "kto": KTO(),
    "best_of_n": BestOfN(),
    "condition": Condition(),
    "evaluate_profiles": EvaluateProfiles(),
    "spin": SPIN(),
    "feedback": Feedback(),
    "promote": Promote(),
    "evaluate": Evaluate(),
}


async def align(
    recipe: Recipe,
    settings: Settings,
    out: Path,
    emit: Emit,
    *,
    models: Models | None = None,
    train: children.Train = children.train,
    until: int | None = None,
    accounts: Accounts | None = None,
) -> dict[str, Any]:
    """The summary of the finished run: each step's result, and the report's numbers where there was an evaluation.

    Args:
        out: existing folder; a run that was stopped in it is resumed.
        models: stands in for the engines of the registered models in tests.
        train: stands in for training children in tests.
        until: number of the last step to do, from 1; None does all.
        accounts: that judges and policies are paid from; None makes them, with the recipe's budget.

    Raises SolonError, after a `run_failed` event.
    """
    try:
        with _only_run_in(out):
            constitution = _checked(recipe, settings)
            if until is None and not (out / recipe.planned()[0].name / "step.json").exists():
                await check_trainings(recipe, settings, train)  # a job's trainings may be done on another machine
            (out / "recipe.yaml").write_text(write_yaml(recipe.model_dump(mode="json")), encoding="utf-8")
            accounts = accounts or accounts_of(recipe, settings)
            with Texts(out / "texts.jsonl") as texts:
                async with opened(settings, models, emit=emit) as running:
                    run = Run(recipe, constitution, settings, out, emit, running, train, accounts, texts)
                    await _steps(recipe, run, until)
    except SolonError as error:
        detail = {"remedy": error.remedy, "field": error.field, "kind": type(error).__name__}
        emit(Event(type="run_failed", message=error.message, detail=detail))
        raise
    for name in ("report", "page"):
        if name in run.artifacts:
            shutil.copy(run.artifacts[name].path, out)
    summary = {"recipe": recipe.name, "out": str(out), "seconds": run.seconds, "paid": accounts.paid()}
    summary["steps"] = run.results
    emit(Event(type="run_finished", message=recipe.name, detail=summary))
    return summary


def accounts_of(recipe: Recipe, settings: Settings) -> Accounts:
    """Accounts with the recipe's budget."""
    return Accounts(settings, Cap(**recipe.budget.model_dump()))


def _checked(recipe: Recipe, settings: Settings) -> Any:
    """The constitution; raises where a name of the recipe is not registered, before anything is started."""
    constitution = weighted(load_constitution(recipe.constitution, settings), recipe.weights)
    settings.model(recipe.policy, "policy")
    check_rollouts(recipe, settings)
    check_judge(recipe.judge, constitution, settings)
    check_marks(recipe, settings)
    if recipe.held_out_judge is not None:
        check_judge(recipe.held_out_judge, constitution, settings)
    for step in (planned.step for planned in recipe.planned()):
        if step.type == "critique_revision":
            check_cast(cast_of(step, recipe), constitution, settings)
    return constitution


async def _steps(recipe: Recipe, run: Run, until: int | None) -> None:
    """Do all that the recipe plans, rounds until they are over or a step of theirs ends them."""
    ended: list[RoundsStep] = []
    for planned in recipe.planned()[:until]:
        if any(planned.rounds is each for each in ended):
            run.emit(Event(type="step_skipped", step=planned.name, message="its rounds have ended"))
            continue
        reason = await _step(planned.name, planned.step, run.during(planned))
        if reason and planned.rounds is not None:
            ended.append(planned.rounds)


async def _step(name: str, step: AnyStep, run: Run) -> str:
    """Do the step or skip it; afterwards the run has its outputs either way. Says why its rounds end, if they do."""
    work = WORK[step.type]
    folder = run.out / name
    inputs = await asyncio.to_thread(work.inputs, step, run)
    wanted = {"step": step.model_dump(mode="json"), "seed": run.recipe.seed, "inputs": inputs, "version": __version__}
    done = await asyncio.to_thread(_known, folder, digests.of_json(wanted), run.settings)
    if done is None:
        run.emit(Event(type="step_started", step=name))
        done = await _do(name, step, run, folder, wanted)
        event = "step_finished"
    else:
        event = "step_skipped"
    await asyncio.to_thread(Published(run.settings).publish, folder)
    for output, made in done["outputs"].items():
        run.artifacts[output] = Artifact(folder / made["path"], made["digest"])
    run.results[name], run.seconds[name] = done["result"], done["seconds"]
    ending: str = done.get("ends_rounds", "")
    said = _said(event, done["seconds"]) + (f"; {ending}" if ending else "")
    run.emit(Event(type=event, step=name, message=said, detail=done["result"]))
    return ending


def _said(event: str, seconds: float) -> str:
    return f"done in {seconds:.1f} s" if event == "step_finished" else "nothing changed"


async def _do(name: str, step: AnyStep, run: Run, folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The record of the step, written last: without it the step counts as not done."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    outcome = await WORK[step.type].do(step, run, folder, Ticks(name, run.emit))
    outputs = {
        output: {"path": str(path.relative_to(folder)), "digest": await asyncio.to_thread(digests.of_path, path)}
        for output, path in outcome.outputs.items()
    }
    record = {
        "digest": digests.of_json(wanted),
        **wanted,
        "outputs": outputs,
        "result": dict(outcome.result),
        "ends_rounds": outcome.ends_rounds,
        "seconds": round(time.monotonic() - began, 2),
    }
    _publish(folder / "step.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return record


def _publish(path: Path, text: str) -> None:
    """The text in a file that is whole or not there, whatever is killed or loses power meanwhile."""
    scratch = path.with_name(f".{path.name}")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _known(folder: Path, digest: str, settings: Settings) -> dict[str, Any] | None:
    """The record of a step that this host, or another one, has done."""
    done = _still_good(folder / "step.json", digest)
    if done is None:
        Published(settings).bring_folder(folder)
        done = _still_good(folder / "step.json", digest)
    return done


def _still_good(record: Path, digest: str) -> dict[str, Any] | None:
    """The record of a step that need not be done again."""
    try:
        done: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        same = done["digest"] == digest and all(
            digests.of_path(record.parent / made["path"]) == made["digest"] for made in done["outputs"].values()
        )
    except (OSError, ValueError, KeyError):
        return None
    return done if same else None


@contextmanager
def _only_run_in(out: Path) -> Generator[None]:
    """Raises Conflict where another process runs a recipe in the same folder."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"another run is at work in {out}", remedy="wait for it, or give another --out") from error
        yield

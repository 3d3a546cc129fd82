"""Training methods side by side: the same policy, judge, prompts and evaluation, several seeds each.

    OUT/dpo-seed-0/...       a run of the method's recipe, as `solon align` makes it; it goes on where it was stopped
    OUT/methods.json         what was found

Every run has a judgement cache of its own, so none is quicker for what another has asked.
"""

import json
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from api import children, machine
from api.children import Progress, Train
from api.events import Emit
from api.recipe_files import load_recipe
from api.recipes import Recipe
from api.registry import Models
from api.workflows import align
from solon.errors import InvalidInput
from solon.records import Record
from solon.settings import Settings
from trainer.config import AnyConfig
from trainer.report import Report

# Quantiles 0.975 of Student's t by degrees of freedom, as in any table of it.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
MOST_SEEDS = len(_T) + 1
Work = Callable[[Recipe, Settings, Path, Emit], Awaitable[None]]
_RATES = ("violation_rate", "harmful_compliance_rate", "helpful_rate", "over_refusal_rate", "incoherent_rate")


class Spread(Record):
    """The mean of one number over seeds."""

    mean: float
    low: float | None = None
    """Bounds of the mean, 95 %, by Student's t over the seeds; None with one seed. Not cut at 0 or 1."""
    high: float | None = None
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Of one value per seed, `MOST_SEEDS` at most; None without any."""
        if len(values) < 2:
            return cls(mean=values[0], seeds=1) if values else None
        middle, half = fmean(values), _T[len(values) - 2] * stdev(values) / math.sqrt(len(values))
        return cls(mean=middle, low=middle - half, high=middle + half, seeds=len(values))


class Trial(Record):
    """One seed of one method."""

    method: str
    seed: int
    numbers: dict[str, float]
    """Rates of the oracle after training, `win_rate` (by the held-out judge where the recipe names one), `kl_nats`,
    `seconds` of all steps but the evaluation, and `peak_memory_mib` of the largest training child."""
    before: dict[str, float]
    """The same rates of the policy that the training began with."""


class Row(Record):
    """A method over its seeds."""

    method: str
    numbers: dict[str, Spread]


class Findings(Record):
    """What a comparison found."""

    machine: str
    prompts: int
    """How many held-out prompts each policy was read on."""
    before: Row
    rows: tuple[Row, ...]
    trials: tuple[Trial, ...]


def shipped() -> dict[str, Recipe]:
    """The recipes that are compared by default, by method."""
    found: dict[str, Recipe] = {}
    for each in sorted(files("api").joinpath("methods").iterdir(), key=lambda file: file.name):
        with as_file(each) as path:
            if path.suffix == ".yaml":
                found[path.stem] = load_recipe(path)
    return found


def chosen(names: Sequence[str]) -> dict[str, Recipe]:
    """The shipped recipes of these names and the recipes in these files; all shipped ones without a name.

    Raises InvalidInput for a name that is neither.
    """
    known = shipped()
    if not names:
        return known
    found: dict[str, Recipe] = {}
    for name in names:
        if name in known:
            found[name] = known[name]
        elif name.endswith((".yaml", ".yml")):
            recipe = load_recipe(Path(name))
            found[recipe.name] = recipe
        else:
            remedy = f"available: {', '.join(known)}, or a recipe's file"
            raise InvalidInput(f"there is no method {name!r} to compare", field="METHOD", remedy=remedy)
    return found


async def compare(
    recipes: dict[str, Recipe],
    seeds: int,
    settings: Settings,
    out: Path,
    emit: Emit,
    *,
    models: Models | None = None,
    train: Train = children.train,
) -> Findings:
    """Every method with every seed from 0; what is found so far is in `out` after each run.

    Args:
        emit: takes the events of all runs; their steps are named by the run.
        models: stands in for the engines of the registered models in tests.
        train: stands in for training children in tests.
    """

    async def work(seeded: Recipe, own: Settings, folder: Path, told: Emit) -> None:
        await align(seeded, own, folder, told, models=models, train=_weighed(train, folder / "children.jsonl"))

    trials: list[Trial] = []
    findings: Findings | None = None
    for seed in range(seeds):
        for method, recipe in recipes.items():
            name = f"{method}-seed-{seed}"
            trials.append(await _trial(method, recipe, seed, settings, out / name, _of_run(name, emit), work))
            findings = _findings(trials, recipe)
            (out / "methods.json").write_text(findings.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if findings is None:
        raise InvalidInput("there is nothing to compare", field="METHOD", remedy="name a method")
    return findings


def _of_run(name: str, emit: Emit) -> Emit:
    return lambda event: emit(event.model_copy(update={"step": f"{name} {event.step}".strip()}))


async def _trial(
    method: str, recipe: Recipe, seed: int, settings: Settings, folder: Path, emit: Emit, work: Work
) -> Trial:
    folder.mkdir(parents=True, exist_ok=True)
    own = settings.model_copy(update={"cache": folder / "judgements.db"})
    seeded = recipe.model_copy(update={"seed": seed})
    await work(seeded, own, folder, emit)
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    if report.before is None or report.after is None:
        raise InvalidInput(
            "methods are compared by what the oracle reads, and it reads the starter world only",
            field="prompts.eval",
            remedy="use builtin:agora/eval",
        )
    won = report.held_out_win_rate or report.win_rate
    numbers = _rates(report.after) | {"win_rate": won.value if won is not None else None}
    numbers |= {"kl_nats": report.kl_nats, "seconds": _seconds(report), "peak_memory_mib": _peak(folder)}
    known = {name: value for name, value in numbers.items() if value is not None}
    before = {name: value for name, value in _rates(report.before).items() if value is not None}
    return Trial(method=method, seed=seed, numbers=known, before=before | {"prompts": report.before.prompts})


def _rates(behaviour: Any) -> dict[str, float | None]:
    return {name: getattr(behaviour, name) for name in _RATES}


def _seconds(report: Report) -> float:
    """Of the steps that made the policy; evaluating is the same for all."""
    return sum(took for step, took in report.seconds.items() if "evaluate" not in step)


def _weighed(train: Train, notes: Path) -> Train:
    """`train`, with the peak memory of each child noted in a file."""

    async def weighed(config: AnyConfig, where: Path, progress: Progress) -> dict[str, Any]:
        done = await train(config, where, progress)
        if config.type != "kl" and "peak_memory_mib" in done:
            with notes.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"child": str(where), "peak_memory_mib": done["peak_memory_mib"]}) + "\n")
        return done

    return weighed


def _peak(folder: Path) -> float | None:
    notes = folder / "children.jsonl"
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    return max((float(json.loads(line)["peak_memory_mib"]) for line in lines), default=None)


def _findings(trials: Sequence[Trial], recipe: Recipe) -> Findings:
    methods = list(dict.fromkeys(trial.method for trial in trials))
    return Findings(
        machine=machine.described(),
        prompts=round(trials[0].before["prompts"]),
        before=_row(recipe.policy, (trial.before for trial in trials)),
        rows=tuple(_row(method, (each.numbers for each in trials if each.method == method)) for method in methods),
        trials=tuple(trials),
    )


def _row(name: str, found: Iterable[dict[str, float]]) -> Row:
    """The numbers that all of `found` have, over seeds; equal policies before training count once a seed."""
    several = list(found)
    shared = [key for key in several[0] if all(key in each for each in several) and key != "prompts"]
    spreads = {key: Spread.of([each[key] for each in several][:MOST_SEEDS]) for key in shared}
    return Row(method=name, numbers={key: spread for key, spread in spreads.items() if spread is not None})

"""`solon rules score | fit | accuracy`: a file of completions under the rules of a constitution."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from api.events import Emit, Event
from api.judging import open_judge, opened_cache
from api.libraries import load_constitution
from api.registry import Models, opened
from api.run_context import Ticks
from api.terminal import write_file
from constitution.digest import content_hash
from constitution.document import Constitution
from critic.concurrency import ROWS_IN_FLIGHT, in_order
from critic.judge import Judge
from critic.rules import Ask, RuleSet
from critic.rules.fitting import FitSettings, Ranked, fit
from critic.rules.gold import proposition_accuracy
from critic.rules.scoring import Scored, given_propositions, ranked, rewards, score_row
from critic.rules.weights import Over, RuleWeights, read_weights
from solon.errors import InvalidInput
from solon.formats import check_apart
from solon.records import Completion, Prompt
from solon.rows import Row, read_rows
from solon.settings import Settings

STEP = "rules"


@dataclass(frozen=True)
class RulesRequest:
    """Whose rules are applied, and who answers their questions."""

    constitution: str
    judge: str | None = None
    """None leaves questions unanswered, unless the row answers them."""
    cache: Path | None = None
    """Judgement cache instead of the shared one."""


async def score_file(
    rows: Path,
    out: Path,
    request: RulesRequest,
    weights: Path | None,
    settings: Settings,
    emit: Emit,
    models: Models | None = None,
) -> dict[str, Any]:
    """One line per row at `out`: what the rules say of each completion, and the best of them.

    Args:
        weights: fitted weights whose reward is added to each score and decides what is best.
    """
    check_apart(out, rows, request.constitution, weights)
    constitution = load_constitution(request.constitution, settings)
    fitted = read_weights(weights) if weights is not None else None
    if fitted is not None:
        fitted.check(constitution)
    lines: list[str] = []
    counts: dict[str, int] = {}
    async with _scored(rows, constitution, request, settings, emit, models) as scored:
        async for row, scores in scored:
            values = score_values(row, scores, fitted)
            lines.append(json.dumps({"id": row.prompt.id, **row_values(values)}, ensure_ascii=False))
            for value in values:
                counts[str(value["class"])] = counts.get(str(value["class"]), 0) + 1
    write_file(out, "".join(f"{line}\n" for line in lines))
    return {"rows": len(lines), "completions": sum(counts.values()), "classes": counts, "out": str(out)}


async def fit_file(
    rows: Path,
    out: Path,
    request: RulesRequest,
    over: Over,
    fitting: FitSettings,
    settings: Settings,
    emit: Emit,
    models: Models | None = None,
) -> dict[str, Any]:
    """The weights at `out`, fitted on the rows whose completions are ranked, and how well they order held-out pairs."""
    check_apart(out, rows, request.constitution)
    constitution = load_constitution(request.constitution, settings)
    completions: list[Ranked] = []
    judge: dict[str, str | None] = {}

    def note(opened: Judge | None) -> None:
        judge.update(opened.identity if opened is not None else {})

    async with _scored(rows, constitution, request, settings, emit, models, note) as scored:
        async for row, scores in scored:
            completions += ranked(row, scores, over)
    found = fit(completions, fitting)
    report = {scope: asdict(each) for scope, each in found.scopes.items()}
    weights = RuleWeights(
        constitution=constitution.id,
        constitution_hash=content_hash(constitution),
        judge=judge,
        over=over,
        settings=fitting,
        scale=found.scale,
        weights=found.weights,
        report=report,
    )
    write_file(out, weights.model_dump_json(indent=2) + "\n")
    return {
        "completions": len(completions),
        "unanswered": found.unanswered,
        "scale": found.scale,
        "weights": found.weights,
        "scopes": report,
        "out": str(out),
    }


async def accuracy_file(
    rows: Path, request: RulesRequest, settings: Settings, emit: Emit, models: Models | None = None
) -> dict[str, Any]:
    """How well propositions are answered, against the gold `propositions` of the rows."""
    constitution = load_constitution(request.constitution, settings)
    pairs: list[tuple[Any, Any]] = []
    async with _scored(rows, constitution, request, settings, emit, models, gold=True) as scored:
        async for row, scores in scored:
            given = given_propositions(row)
            pairs += [(each.propositions, given[i]) for i, each in enumerate(scores) if i in given]
    if not pairs:
        raise InvalidInput(
            "no row has gold propositions", field="propositions", remedy="give a list, one per completion"
        )
    return {
        "completions": len(pairs),
        "propositions": {name: asdict(each) for name, each in proposition_accuracy(pairs).items()},
    }


def score_values(row: Row, scores: list[Scored], weights: RuleWeights | None) -> list[dict[str, Any]]:
    """Each completion's score as plain JSON."""
    of_model = rewards(row)
    values: list[dict[str, Any]] = []
    for i, each in enumerate(scores):
        score = each.classification.score
        fitted = None
        if weights is not None:
            fitted = weights.reward(each.chances, row.prompt.scope, of_model[i] if of_model is not None else None)
        values.append(
            {
                "completion": each.completion.text,
                "reward": score.reward,
                "fired": list(score.fired),
                "propositions": score.propositions,
                "class": each.classification.completion_class,
                "p_class": each.chances.classes,
                "p_rule": each.chances.rules,
            }
            | ({"fitted_reward": fitted} if weights is not None else {})
        )
    return values


def row_values(values: list[dict[str, Any]]) -> dict[str, Any]:
    """The scores of a row with the place of the best; None where two share it, or one of several is not known."""
    key = "fitted_reward" if values and "fitted_reward" in values[0] else "reward"
    found = [value[key] for value in values]
    if len(found) == 1:
        return {"scores": values, "best": 0}
    known = bool(found) and None not in found
    best = found.index(max(found)) if known and found.count(max(found)) == 1 else None
    return {"scores": values, "best": best}


@asynccontextmanager
async def _scored(
    rows: Path,
    constitution: Constitution,
    request: RulesRequest,
    settings: Settings,
    emit: Emit,
    models: Models | None,
    note: Callable[[Judge | None], None] | None = None,
    *,
    gold: bool = False,
) -> AsyncGenerator[AsyncGenerator[tuple[Row, list[Scored]]]]:
    """The rows with the scores of their completions, in order; `gold` leaves their given propositions aside."""
    rules = RuleSet(constitution)
    if request.judge is not None:
        settings.model(request.judge, "judge")
    total = sum(1 for _ in read_rows(rows))
    emit(Event(type="step_started", step=STEP, total=total, message="starting the judge" if request.judge else ""))
    ticks = Ticks(STEP, emit)
    async with opened(settings, models) as running:
        with opened_cache(settings, request.cache) as cache:
            judge = None
            if request.judge is not None:
                judge = await open_judge(request.judge, constitution, settings, running, cache)
            if note is not None:
                note(judge)
            ask = asker(judge)

            async def work(row: Row) -> tuple[Row, list[Scored]]:
                hidden = {key: value for key, value in row.extra.items() if key != "propositions"}
                return row, await score_row(rules, row.model_copy(update={"extra": hidden}) if gold else row, ask)

            async def items() -> AsyncGenerator[tuple[Row, list[Scored]]]:
                done = 0
                async for each in in_order(read_rows(rows), work, width=ROWS_IN_FLIGHT):
                    yield each
                    done += 1
                    ticks(done, total, "", {})

            stream = items()
            try:
                yield stream
            finally:
                await stream.aclose()
    emit(Event(type="step_finished", step=STEP, done=total, total=total))


def asker(judge: Judge | None) -> Ask | None:
    """The judge as what answers a question about a completion; None where there is no judge."""
    if judge is None:
        return None

    async def ask(prompt: Prompt, completion: Completion, question: str) -> float | None:
        return (await judge.ask(prompt, completion, question)).p_yes

    return ask

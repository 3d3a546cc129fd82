"""`solon rank`: the completions of each row from best to worst, and where rows name systems, a leaderboard of them."""

import json
from collections import Counter
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from api.events import Emit, Event
from api.judging import check_judge, open_judge, opened_cache
from api.libraries import load_constitution
from api.registry import Models, opened
from api.run_context import Ticks
from api.steps.label import ROWS_IN_FLIGHT
from api.terminal import write_file
from constitution.document import Constitution
from critic.best_of_n import RankedCompletions, rank
from critic.candidates import Sampling, generate
from critic.concurrency import in_order
from critic.labelling import Labeller
from critic.ranking import Match, Method, leaderboard
from critic.rules import RuleSet
from critic.schedules import Schedule
from solon.chat import ChatModel
from solon.errors import InvalidInput
from solon.formats import check_apart
from solon.records import Discard
from solon.rows import Row, read_rows
from solon.settings import Settings

STEP = "rank"
_NAMES = TypeAdapter(list[str])


@dataclass(frozen=True)
class RankRequest:
    """How completions are ranked."""

    constitution: str
    judge: str | None = None
    policy: str | None = None
    """Writes `n` completions where a row has none: best of n."""
    n: int = 4
    schedule: Schedule = "all"
    rerank: bool = False
    """Whether the rules' violation probabilities decide together with the ratings."""
    method: Method = "bradley_terry"
    """Of the leaderboard; within a row it is always Bradley-Terry."""
    resamples: int = 1000
    seed: int = 0
    max_tokens: int = 256
    temperature: float = 1.0
    cache: Path | None = None
    """Judgement cache instead of the shared one."""


async def rank_file(
    rows: Path, out: Path, request: RankRequest, settings: Settings, emit: Emit, models: Models | None = None
) -> dict[str, Any]:
    """One line per row at `out`, comparisons by status, and the leaderboard where rows have `systems`."""
    check_apart(out, rows, request.constitution)
    constitution = load_constitution(request.constitution, settings)
    check_judge(request.judge, constitution, settings)
    rules = RuleSet(constitution) if request.rerank else None
    total = len([systems(row) for row in read_rows(rows)])  # a malformed row costs no judge call
    ticks = Ticks(STEP, emit)
    emit(Event(type="step_started", step=STEP, total=total, message="starting the models"))
    lines: list[str] = []
    statuses: Counter[str] = Counter()
    suspected = 0
    matches: list[Match] = []
    async with opened(settings, models) as running:
        with opened_cache(settings, request.cache) as cache:
            judge = await open_judge(request.judge, constitution, settings, running, cache)
            policy = await _policy(request, settings, running)
            sampling = Sampling(request.max_tokens, request.temperature)
            labeller = Labeller(constitution, judge, request.policy, sampling, request.seed)
            job = _Job(request, labeller, policy, sampling, rules)
            async with aclosing(in_order(read_rows(rows), job.rank_row, width=ROWS_IN_FLIGHT)) as results:
                async for row, ranked, lost in results:
                    statuses.update(pair.status.value for pair in ranked.comparisons.values())
                    suspected += len(ranked.suspected)
                    names = systems(row)
                    if names is not None:
                        matches += ranked.matches(names)
                    lines.append(json.dumps(_line(ranked, lost), ensure_ascii=False))
                    ticks(len(lines), total, "", {})
    write_file(out, "".join(f"{line}\n" for line in lines))
    emit(Event(type="step_finished", step=STEP, done=total, total=total))
    summary: dict[str, Any] = {"rows": len(lines), "statuses": dict(statuses), "suspected": suspected, "out": str(out)}
    return summary | ({"leaderboard": _board(matches, request, constitution)} if matches else {})


@dataclass(frozen=True)
class _Job:
    request: RankRequest
    labeller: Labeller
    policy: ChatModel | None
    sampling: Sampling
    rules: RuleSet | None

    async def rank_row(self, row: Row) -> tuple[Row, RankedCompletions, tuple[Discard, ...]]:
        """A row with its ranked completions, and why some could not be had."""
        self.labeller.applies_to(row.prompt)
        completions, lost = row.completions, ()
        if not completions:
            if self.policy is None:
                raise InvalidInput(
                    "the row has no completions and there is no policy to write them",
                    field=f"row {row.prompt.id}",
                    remedy="name a policy (--policy NAME), or give completions",
                )
            completions, lost = await generate(
                self.policy, row.prompt, self.request.n, seed=self.request.seed, sampling=self.sampling
            )
        ranked = await rank(
            row.prompt,
            completions,
            self.labeller,
            schedule=self.request.schedule,
            rules=self.rules,
            seed=self.request.seed,
        )
        return row, ranked, lost


def systems(row: Row) -> list[str] | None:
    """The names of what wrote the row's completions, where it gives them; InvalidInput where it gives them wrongly."""
    if "systems" not in row.extra:
        return None
    field = f"row {row.prompt.id}: systems"
    try:
        names = _NAMES.validate_python(row.extra["systems"], strict=True)
    except ValidationError as error:
        raise InvalidInput("is not a list of names", field=field, remedy='write ["...", "..."]') from error
    if len(names) != len(row.completions) or len(set(names)) != len(names):
        raise InvalidInput("needs one name of its own for each completion", field=field, remedy="correct the list")
    return names


async def _policy(request: RankRequest, settings: Settings, models: Models) -> ChatModel | None:
    if request.policy is None:
        return None
    settings.model(request.policy, "policy")
    return await models.chat(request.policy)


def _line(ranked: RankedCompletions, lost: tuple[Discard, ...]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": ranked.prompt.id,
        "completions": [each.text for each in ranked.completions],
        "ratings": ranked.ratings,
        "ranking": ranked.ranking,
        "best": ranked.best,
        "suspected": ranked.suspected,
        "statuses": dict(Counter(pair.status.value for pair in ranked.comparisons.values())),
    }
    if ranked.scores is not None:
        line |= {"scores": ranked.scores, "violations": ranked.violations}
    return line | ({"discards": dict(Counter(each.reason for each in lost))} if lost else {})


def _board(matches: list[Match], request: RankRequest, constitution: Constitution) -> list[dict[str, Any]]:
    table = leaderboard(
        matches,
        request.method,
        tie_margin=constitution.combine.tie_margin,
        resamples=request.resamples,
        seed=request.seed,
    )
    return [asdict(rating) for rating in table]


def show_ranked(summary: dict[str, Any]) -> None:
    """The summary on the terminal."""
    from rich.table import Table

    from api.terminal import print_table, write

    if "leaderboard" in summary:
        table = Table("system", "rating", "95 % interval", "comparisons", "win rate")
        for rating in summary["leaderboard"]:
            interval = f"{rating['low']:.0f} to {rating['high']:.0f}"
            share = rating["wins"] / rating["matches"]
            table.add_row(rating["player"], f"{rating['rating']:.0f}", interval, str(rating["matches"]), f"{share:.3f}")
        print_table(table)
    counts = ", ".join(f"{name} {count}" for name, count in summary["statuses"].items()) or "none"
    if summary["suspected"]:
        write(f"{summary['suspected']} completions speak to the judge (injection_suspected): none of them is best")
    write(f"{summary['rows']} rows ranked by comparisons: {counts}; written to {summary['out']}")

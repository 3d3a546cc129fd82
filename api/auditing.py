"""`solon audit judge|reward`: rows that people or an oracle judged, labelled by a judge, and what that says of it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from api.events import Emit, Event
from api.gold import GOLD, ROWS, gold_rows
from api.judging import check_judge, open_judge, opened_cache
from api.recipe_files import BUILTIN_PROMPTS
from api.registry import Models, opened
from api.run_context import Ticks
from constitution.digest import content_hash
from constitution.document import Constitution, Principle
from critic.attacks import AttackReport, attack
from critic.cache import Cache
from critic.judge import Judge
from critic.judge_audit import JudgeAudit, judge_audit
from critic.pipeline import label
from solon.errors import InvalidInput, NotFound
from solon.records import Completion, Discard, Message, PreferencePair, Prompt
from solon.rows import Row, read_rows
from solon.settings import Settings
from solon.templates import template_hash

CASES: Final = "cases"
"""Name of the rows made of the constitution's own cases."""
AuditKind = Literal["judge", "reward"]
"""A reward model is audited as a judge that asks nothing: P(a is better) = s(r_a - r_b)."""
_ROWS_IN_FLIGHT: Final = 32
_BETTER: Final = Principle(id="reward", text="Prefer the better response.")
"""What stands for the principles that a reward model does not know."""


@dataclass(frozen=True)
class AuditRequest:
    """What is audited, and how much of it."""

    judge: str
    """Registered name, of a reward model where `kind` says so."""
    limit: int | None = None
    """Rows of each set at most, the first ones; None: all."""
    attacks: bool = True
    """Whether the attack suite is tried."""
    probes_per_attack: int = 1
    second_judge: str | None = None
    """Registered name of a judge beside which self-preference is set."""
    seed: int = 0
    kind: AuditKind = "judge"


@dataclass(frozen=True)
class AuditReport:
    """Everything that `audit.json` holds."""

    judge: dict[str, str | None]
    """name, model, revision, server."""
    constitution: dict[str, str]
    """id, version, content_hash."""
    template_hash: str
    request: AuditRequest
    audits: dict[str, JudgeAudit]
    """By the name of the rows."""
    attacks: AttackReport | None
    cost: dict[str, int] = field(default_factory=dict[str, int])
    """Judge calls, cache hits, tokens."""
    made_at: str = ""

    @property
    def is_blank(self) -> bool:
        """Whether there were comparisons and the judge judged none of them."""
        judged = [each.summary for each in self.audits.values() if each.summary.pairs]
        return bool(judged) and all(each.is_blank for each in judged)


async def audit_judge(
    rows: Mapping[str, Sequence[Row]],
    constitution: Constitution,
    request: AuditRequest,
    settings: Settings,
    emit: Emit,
    models: Models | None = None,
    cache: Cache | None = None,
) -> AuditReport:
    """The audit of a registered judge under a constitution, on each of the named sets of rows.

    Of a reward model the constitution gives scopes, cases and the tie margin only. Raises InvalidInput where the
    constitution asks no judge, NotFound or ModelUnavailable where there is none.
    """
    given = constitution
    if request.kind == "reward":
        settings, constitution = reward_settings(request.judge, settings), _without_principles(constitution)
    check_judge(request.judge, constitution, settings)
    if request.second_judge is not None:
        settings.model(request.second_judge, "judge")
    async with opened(settings, models) as running:
        judge = await open_judge(request.judge, constitution, settings, running, cache)
        if judge is None:
            raise InvalidInput(
                "the constitution asks no judge", field="--constitution", remedy="name one with principles"
            )
        second = (
            await open_judge(request.second_judge, constitution, settings, running, cache)
            if request.second_judge is not None
            else None
        )
        audits = {
            name: await _audit(name, list(islice(each, request.limit)), constitution, judge, second, request.seed, emit)
            for name, each in rows.items()
        }
        attacks = await _attacked(judge, constitution, request, emit) if request.attacks else None
    return AuditReport(
        judge=judge.identity,
        constitution={
            "id": given.id,
            "version": given.version,
            "content_hash": content_hash(given),
        },
        template_hash=template_hash("judge_pair") if request.kind == "judge" else "none",
        request=request,
        audits=audits,
        attacks=attacks,
        cost=asdict(judge.usage),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


async def audit_files(
    sources: Sequence[str],
    constitution: Constitution,
    out: Path,
    request: AuditRequest,
    settings: Settings,
    emit: Emit,
    models: Models | None = None,
) -> AuditReport:
    """The audit on row files and built-in rows, or on the constitution's cases without any.

    `audit.html` and `audit.json` are in `out`. Judgements are kept in the shared cache: an audit that was
    interrupted goes on where it stopped.
    """
    from api.audit_page import write_page

    rows = {_name(each, sources): _rows(each, constitution, request) for each in sources}
    rows = rows or {CASES: case_rows(constitution)}
    with opened_cache(settings) as cache:
        report = await audit_judge(rows, constitution, request, settings, emit, models, cache)
    write_page(report, out)
    return report


def reward_settings(name: str, settings: Settings) -> Settings:
    """The settings with a registered reward model as a judge; InvalidInput where it is none."""
    entry = settings.model(name)
    if entry.kind != "reward" and (entry.kind != "judge" or entry.judge.method != "reward_model"):
        raise InvalidInput(
            f"{name!r} is registered as no reward model",
            field=f"models.{name}",
            remedy="register it with kind `reward`, or as a judge of method `reward_model`",
        )
    asked = entry.judge.model_copy(update={"method": "reward_model"})
    as_judge = entry.model_copy(update={"kind": "judge", "judge": asked})
    return settings.model_copy(update={"models": settings.models | {name: as_judge}})


def _without_principles(constitution: Constitution) -> Constitution:
    """Its scopes, cases and tie margin, and one principle for all."""
    return constitution.model_copy(update={"principles": (_BETTER,), "rules": (), "classes": ()})


def case_rows(constitution: Constitution) -> list[Row]:
    """The constitution's own cases as rows: its authors say which completion is better."""
    return [
        Row(
            prompt=Prompt(id=case.id, messages=(Message(role="user", content=case.prompt),)),
            completions=(Completion(text=case.better), Completion(text=case.worse)),
            human_votes=("a",),
        )
        for case in constitution.cases
    ]


def _name(source: str, sources: Sequence[str]) -> str:
    stem = Path(source).stem
    return stem if [Path(each).stem for each in sources].count(stem) == 1 else source


def _rows(source: str, constitution: Constitution, request: AuditRequest) -> list[Row]:
    if source == GOLD:
        return gold_rows(constitution, request.limit or ROWS, request.seed)
    if source.startswith(BUILTIN_PROMPTS):
        raise NotFound(f"there are no rows {source!r}", field="ROWS", remedy=f"known: {GOLD}, or a file")
    return list(read_rows(Path(source)))


async def _audit(
    name: str,
    rows: Sequence[Row],
    constitution: Constitution,
    judge: Judge,
    second: Judge | None,
    seed: int,
    emit: Emit,
) -> JudgeAudit:
    items = await _labelled(name, rows, constitution, judge, seed, emit)
    control: dict[str, float] = {}
    if second is not None:
        others = await _labelled(f"{name}, second judge", rows, constitution, second, seed, emit)
        by_texts = {_texts(pair): pair.p_a for pair in _pairs(others)}
        measured = ((pair.id, by_texts.get(_texts(pair))) for pair in _pairs(items))
        control = {pair_id: p for pair_id, p in measured if p is not None}
    return judge_audit(
        items,
        rows=name,
        kin=judge.kin,
        tie_margin=constitution.combine.tie_margin,
        seed=seed,
        second_judge=control,
    )


async def _labelled(
    step: str, rows: Sequence[Row], constitution: Constitution, judge: Judge, seed: int, emit: Emit
) -> list[PreferencePair | Discard]:
    emit(Event(type="step_started", step=step, total=len(rows)))
    ticks = Ticks(step, emit)
    labelled = label(
        (row for row in rows if len(row.completions) == 2),
        constitution=constitution,
        judge=judge,
        seed=seed,
        min_coverage=0.0,
        max_rows_in_flight=_ROWS_IN_FLIGHT,
    )
    items: list[PreferencePair | Discard] = [
        Discard(prompt_id=row.prompt.id, reason="not_a_pair", detail=f"{len(row.completions)} completions")
        for row in rows
        if len(row.completions) != 2
    ]
    async with aclosing(labelled) as found:
        async for item in found:
            items.append(item)
            ticks(len(items), len(rows))
    emit(Event(type="step_finished", step=step, done=len(rows), total=len(rows)))
    return items


async def _attacked(judge: Judge, constitution: Constitution, request: AuditRequest, emit: Emit) -> AttackReport:
    step = "attacks"
    emit(Event(type="step_started", step=step))
    ticks = Ticks(step, emit)
    report = await attack(
        judge,
        constitution,
        probes_per_attack=request.probes_per_attack,
        seed=request.seed,
        tick=lambda done, total: ticks(done, total),
    )
    trials = report.overall.trials + report.control.trials
    emit(Event(type="step_finished", step=step, done=trials, total=trials))
    return report


def _pairs(items: Iterable[PreferencePair | Discard]) -> list[PreferencePair]:
    return [item for item in items if isinstance(item, PreferencePair)]


def _texts(pair: PreferencePair) -> tuple[str, str, str]:
    return (pair.prompt.id, pair.a.text, pair.b.text)
